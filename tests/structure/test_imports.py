"""What is imported with what: `serving` runs where there is no torch."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = {"torch", "transformers", "openvino", "onnxruntime", "tritonclient", "tensorrt", "tensorrt_rtx_bindings", "onnx"}
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "serving").rglob("*.py")
    if path.name != "__init__.py"
)


@pytest.mark.parametrize("module", MODULES)
def test_serving_imports_neither_torch_nor_an_engine(module):
    # Triton's own module exists only inside its stub.
    script = (
        "import sys, types; sys.modules['triton_python_backend_utils'] = types.ModuleType('triton_python_backend_utils')\n"
        f"import {module}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert HEAVY.isdisjoint(done.stdout.split())


def test_what_runs_inside_triton_needs_numpy_and_the_standard_library_only():
    script = (
        "import sys, types; sys.modules['triton_python_backend_utils'] = types.ModuleType('triton_python_backend_utils')\n"
        "import serving.triton_backend\n"
        "print(*sorted({name.split('.')[0] for name in sys.modules} - sys.stdlib_module_names))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    foreign = {name for name in done.stdout.split() if not name.startswith(("_", "__editable__", "distutils"))}
    assert foreign <= {"numpy", "serving", "triton_python_backend_utils"}


def test_openvino_is_imported_by_its_engine_only():
    # Anyone else's import would let it report its use over the network.
    for package in ("appliance", "integrations", "pretrain", "serving"):
        for path in (ROOT / package).rglob("*.py"):
            if path != ROOT / "serving" / "engines" / "openvino.py":
                lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
                assert not [line for line in lines if line.startswith(("import openvino", "from openvino"))], path


def test_every_dependency_is_imported_by_the_product():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    wanted = {re.match(r"[\w.-]+", line)[0].lower() for line in declared}  # type: ignore[index]
    sources = [
        p.read_text() for name in ("appliance", "integrations", "pretrain", "serving") for p in (ROOT / name).rglob("*.py")
    ]
    imported = {name for text in sources for name in re.findall(r"^ *(?:import|from) (\w+)", text, re.MULTILINE)}
    packages = packages_distributions()
    provided = {package.lower().replace("_", "-") for name in imported for package in packages.get(name, [])}
    # torch's ONNX exporter imports onnxscript; torch does not declare it. Of the other two the word lists are read.
    assert wanted - provided == {"onnxscript", "names", "philter-ucsf"}


def test_every_folder_of_modules_is_packed():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    four = ("appliance", "integrations", "pretrain", "serving")
    there = {".".join(path.parent.relative_to(ROOT).parts) for part in four for path in (ROOT / part).rglob("*.py")}
    assert sorted(listed) == sorted(there)
