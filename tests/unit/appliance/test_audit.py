"""The audit: what it tells, what it notices, and what is not done where it cannot be written."""

import json
import os
import pwd
import random
import subprocess
import sys
from pathlib import Path

import pytest

from appliance import audit
from appliance.audit import AuditError, Watch, entries, record
from appliance.home import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.init()
    return home


def test_a_line_says_who_did_what_to_what(home):
    record(home, "messages show", "message 12")
    seal = record(home, "messages replay", "message 13")
    first, second = entries(home)
    assert (first["did"], first["on"], second["on"], second["seal"]) == ("messages show", "message 12", "message 13", seal)
    assert second["after"] == first["seal"]
    assert first["who"]
    assert home.audit.stat().st_mode & 0o777 == 0o600


def test_nobody_signs_with_another_name(home, monkeypatch):
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(variable, "dr.smith")
    monkeypatch.delenv("SUDO_USER", raising=False)
    record(home, "messages show", "message 12")
    (entry,) = entries(home)
    assert entry["who"] == pwd.getpwuid(os.getuid()).pw_name


def test_an_empty_audit_is_in_order(home):
    assert list(entries(home)) == []


def test_every_edit_deletion_and_reordering_is_found(home):
    for n in range(40):
        record(home, "messages show", f"message {n}")
    whole = home.audit.read_bytes().splitlines(keepends=True)
    draw = random.Random(0)
    for _ in range(int(os.environ.get("CLINAPPLIANCE_EDITS", "500"))):
        lines = list(whole)
        match draw.randrange(4):
            case 0:
                i = draw.randrange(len(lines))
                at = draw.randrange(len(lines[i]) - 1)
                lines[i] = lines[i][:at] + bytes([lines[i][at] ^ 1 << draw.randrange(7)]) + lines[i][at + 1 :]
            case 1:
                del lines[draw.randrange(len(lines) - 1)]
            case 2:
                i, j = draw.sample(range(len(lines)), 2)
                lines[i], lines[j] = lines[j], lines[i]
            case 3:
                lines.insert(draw.randrange(1, len(lines)), lines[draw.randrange(len(lines))])
        home.audit.write_bytes(b"".join(lines))
        with pytest.raises(AuditError, match="is not as it was written"):
            list(entries(home))


def test_a_line_cannot_be_made_up_without_the_key(home):
    seal = record(home, "messages show", "message 1")
    forged = json.loads(home.audit.read_text()) | {"on": "message 2", "after": seal}
    home.audit.write_text(home.audit.read_text() + json.dumps(forged) + "\n")
    with pytest.raises(AuditError, match="line 2"):
        list(entries(home))


def test_a_line_that_a_crash_cut_short_gives_way_to_the_next_one(home):
    record(home, "messages show", "message 1")
    home.audit.write_bytes(home.audit.read_bytes() + b'{"at": "2026')
    record(home, "messages show", "message 2")
    assert [entry["on"] for entry in entries(home)] == ["message 1", "message 2"]


def test_processes_that_write_at_once_make_one_chain(home):
    script = (
        "import sys; from pathlib import Path; from appliance.audit import record; from appliance.home import Home\n"
        "for n in range(20): record(Home(Path(sys.argv[1])), 'messages show', f'message {n}')"
    )
    writers = [subprocess.Popen([sys.executable, "-c", script, str(home.root)]) for _ in range(4)]
    assert [writer.wait() for writer in writers] == [0] * 4
    assert len(list(entries(home))) == 80


def test_what_cannot_be_told_is_not_done(home):
    home.audit.symlink_to("/dev/full")
    with pytest.raises(AuditError, match="so nothing was shown or done"):
        record(home, "messages show", "message 1")
    os.unlink(home.audit)


def test_whoever_watches_sees_new_lines_and_what_is_wrong_with_old_ones(home, monkeypatch):
    watch = Watch(home)
    assert watch.look() == (0, True)
    for n in range(5):
        record(home, "messages show", f"message {n}")
    assert watch.look() == (5, True)
    whole = home.audit.read_bytes()
    record(home, "messages show", "message 5")
    assert watch.look() == (6, True)
    # An older file is sound in itself; that there are fewer lines is for Prometheus to notice, which keeps the number elsewhere.
    home.audit.write_bytes(whole)
    assert watch.look() == (5, True)
    home.audit.write_bytes(whole.replace(b"message 4", b"message 9") + whole[:10])
    assert watch.look() == (5, False)
    home.audit.write_bytes(whole)
    assert watch.look() == (5, True)
    # A line that was seen already is looked at again with the rest, once in an hour.
    home.audit.write_bytes(whole.replace(b"message 1", b"message 9"))
    assert watch.look() == (5, True)
    monkeypatch.setattr(audit, "WHOLE_EVERY_S", -1.0)
    assert watch.look() == (1, False)
    home.audit.unlink()
    assert watch.look() == (0, True)


def test_a_line_that_is_being_written_is_waited_for(home):
    for _ in range(3):
        record(home, "messages show", "message 0")
    script = "import sys; from pathlib import Path; from appliance.audit import record; from appliance.home import Home\n"
    script += "for n in range(300): record(Home(Path(sys.argv[1])), 'messages show', f'message {n}')"
    with subprocess.Popen([sys.executable, "-c", script, str(home.root)]) as process:
        while process.poll() is None:
            assert sum(1 for _ in entries(home)) >= 3
    assert sum(1 for _ in entries(home)) == 303
