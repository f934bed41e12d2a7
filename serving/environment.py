"""Triton's own Python environment: where its parts lie, and what would keep it from starting.

The nvidia-pytriton wheel holds a whole tritonserver, its Python backend, and a stub per Python version that embeds libpython.
NumPy must be 1.x there (see `numpy_version`), hence an environment apart. Nothing is started to find out.
"""

import os
import shutil
import sysconfig
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path

PYTRITON = "0.7.0"
"""The release of the wheel that Triton comes in; its server is 2.51. Another one has other options and another stub."""


class ServerError(RuntimeError):
    """Triton cannot be started or did not become ready; the message says why and what to do."""


@dataclass(frozen=True)
class Environment:
    """A virtual environment that can run Triton."""

    root: Path
    site_packages: Path
    python: str
    """Its version, as in `3.11`."""
    libpython_folder: Path
    """Where the shared library of its base Python lies; the stub embeds it."""

    @property
    def tritonserver(self) -> Path:
        """The server's executable."""
        return self._triton / "bin" / "tritonserver"

    @property
    def caches(self) -> Path:
        """Triton's cache libraries."""
        return self._triton / "caches"

    @property
    def libraries(self) -> Path:
        """Shared libraries that came with the server."""
        return self.site_packages / "nvidia_pytriton.libs"

    @property
    def backend_files(self) -> tuple[Path, ...]:
        """The Python backend and its stub, which must lie in one folder and come in two."""
        stub = self._triton / "python_backend_stubs" / self.python / "triton_python_backend_stub"
        folder = self._triton / "backends" / "python"
        return folder / "libtriton_python.so", folder / "triton_python_backend_utils.py", stub

    def link_backend(self, folder: Path) -> Path:
        """Make `folder` a backend directory with the stub beside the backend, where Triton looks for it.

        Raises:
            OSError: the disk refuses.
        """
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "python").mkdir(parents=True)
        for file in self.backend_files:
            (folder / "python" / file.name).symlink_to(file.resolve())
        return folder

    def variables(self) -> dict[str, str]:
        """The environment variables that Triton is started with: this process's, except what would mislead its stub.

        The stub embeds Python: it finds its environment by the first python on PATH, and libpython by LD_LIBRARY_PATH.
        """
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "LD_"))}
        return kept | {
            "PATH": f"{self.root / 'bin'}:{kept.get('PATH', os.defpath)}",
            "LD_LIBRARY_PATH": f"{self.libraries}:{self.libpython_folder}",
        }

    @property
    def _triton(self) -> Path:
        return self.site_packages / "pytriton" / "tritonserver"


def find(root: Path) -> Environment:
    """The environment in `root`, checked.

    Raises:
        ServerError: a part is missing, NumPy is too new, or Triton or this package is another version there.
    """
    config = _pyvenv_config(root)
    folders = sorted((root / "lib").glob("python3.*/site-packages"))
    if "home" not in config or not folders:
        raise ServerError(f"Triton's environment is not in {root}; run install.sh, or set [triton] environment to where it is")
    python = folders[0].parent.name.removeprefix("python")
    environment = Environment(root, folders[0], python, _libpython_folder(Path(config["home"]), python))
    for part in (environment.tritonserver, environment.libraries, *environment.backend_files):
        if not part.exists():
            raise ServerError(f"Triton's environment {root} lacks {part.relative_to(root)}; run install.sh again")
    numpy = _version(environment, "numpy")
    if numpy is None or int(numpy.split(".")[0]) >= 2:
        # With NumPy 2 the stub reads inputs wrong and answers with empty outputs, silently (triton-inference-server #8301).
        raise ServerError(f"Triton's environment {root} has numpy {numpy or 'not at all'}; install numpy 1.26.4 there")
    for package, wanted, what in (("nvidia-pytriton", PYTRITON, "this release starts"), ("clinappliance", _own(), "this is")):
        found = _version(environment, package)
        if found is None or wanted not in (found, None):
            there = f"has {package} {found}" if found else f"lacks {package}"
            raise ServerError(f"Triton's environment {root} {there}, and {what} {wanted}; run install.sh again")
    return environment


def _pyvenv_config(root: Path) -> dict[str, str]:
    try:
        lines = (root / "pyvenv.cfg").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    return {key.strip(): value.strip() for key, _, value in (line.partition("=") for line in lines)}


def _libpython_folder(home: Path, python: str) -> Path:
    """Where the base Python (its `bin` is `home`) or the system keeps `libpython`."""
    library = f"libpython{python}.so.1.0"
    multiarch = sysconfig.get_config_var("MULTIARCH") or ""
    folders = (home.parent / "lib", home.parent / "lib" / multiarch, Path("/usr/lib") / multiarch, Path("/usr/local/lib"))
    for folder in folders:
        if (folder / library).exists():
            return folder
    raise ServerError(
        f"Triton needs {library}, which is not in {', '.join(str(folder) for folder in folders)}; "
        f"install Debian's libpython{python}, or a Python built with --enable-shared"
    )


def _own() -> str | None:
    try:
        return version("clinappliance")
    except PackageNotFoundError:
        return None  # run from its sources: nobody can tell


def _version(environment: Environment, package: str) -> str | None:
    found = next(iter(distributions(name=package, path=[str(environment.site_packages)])), None)
    return found.version if found else None
