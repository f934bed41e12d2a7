"""No secret is in the repository."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
PEM = re.compile(rb"^-{5}BEGIN [A-Z0-9 ]*PRIVATE KEY", re.MULTILINE)


def test_no_file_holds_a_private_key() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    files = [ROOT / name.decode() for name in listed.split(b"\0") if name]
    assert len(files) > 500
    assert [path for path in files if path.is_file() and PEM.search(path.read_bytes())] == []
    assert PEM.search(b"x\n" + b"-" * 5 + b"BEGIN EC PRIVATE KEY")


def test_no_file_is_named_like_a_secret() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    assert [name for name in listed if name.endswith((".key", ".pem", ".p12", ".pfx", ".jks")) or Path(name).name == ".env"] == []
