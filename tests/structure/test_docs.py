"""What the documents name is there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HOUSE = (ROOT / "docs/design.md").read_text().split("```")[1]


def named_files() -> list[str]:
    """Every .py file of the house in docs/design.md, as a path in the tree."""
    folder, files = "", []
    for line in HOUSE.splitlines():
        if found := re.match(r"(\w+)/", line):
            folder = found[1]
        if folder in {"appliance", "pretrain", "serving", "integrations"} and line.startswith("  "):
            for word in re.findall(r"(?:[\w/]+/)?(?:\{[\w,]+\}|\w+)\.py", line):
                stem, braces = re.fullmatch(r"(.*?)(?:\{(.*)\})?(?:\.py)?", word.removesuffix(".py")).groups()  # type: ignore[union-attr]
                files += [f"{folder}/{stem}{name}.py" for name in braces.split(",")] if braces else [f"{folder}/{stem}.py"]
    return files


def test_the_house_in_the_design_names_many_files():
    assert len(named_files()) > 60


@pytest.mark.parametrize("path", named_files())
def test_a_file_that_the_design_names_exists(path):
    assert (ROOT / path).is_file()


def test_every_module_is_in_the_house():
    modules = {
        str(path.relative_to(ROOT))
        for package in ("appliance", "pretrain", "serving", "integrations")
        for path in (ROOT / package).rglob("*.py")
        if not path.name.startswith("__") and not {"demo", "migrations", "web"} & set(path.parts)
    }
    assert modules == {name for name in named_files() if not name.startswith("appliance/demo")}


@pytest.mark.parametrize("document", ["README.md", "docs/design.md"])
def test_every_command_that_the_documents_name_is_there(document):
    said = subprocess.run([sys.executable, "-m", "appliance.cli", "--help"], capture_output=True, text=True, check=True, cwd=ROOT)
    commands = set(re.findall(r"^  ([a-z]+)  ", said.stdout, re.MULTILINE))
    text = (ROOT / document).read_text()
    named = set(re.findall(r"^clinappliance ([a-z]+)", text, re.MULTILINE)) | set(re.findall(r"`clinappliance ([a-z]+)", text))
    assert named <= commands
    assert commands >= {"init", "train", "evaluate", "tag", "run", "serve", "compile", "models", "messages", "status", "doctor"}


def test_help_is_instant():
    """Below 0.3 s of CPU time, the duty of a command line; 0.08 s measured, so that the bound holds on a slow host."""
    script = (
        "import resource, subprocess, sys\n"
        "subprocess.run([sys.executable, '-m', 'appliance.cli', '--help'], stdout=subprocess.DEVNULL, check=True)\n"
        "used = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "print(used.ru_utime + used.ru_stime)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert float(done.stdout) < 0.3


def test_the_prometheus_configuration_scrapes_the_default_ports():
    from appliance.config import AppConfig

    config = AppConfig()
    _, scraped = (ROOT / "ops/prometheus/prometheus.yml").read_text().split("scrape_configs:")
    targets = re.findall(r"127\.0\.0\.1:(\d+)", scraped)
    assert targets == [str(config.http.port), str(config.triton.metrics_port)]
