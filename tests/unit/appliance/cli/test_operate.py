"""The operator's commands as they are typed: one result on stdout, one line of trouble on stderr."""

import json
from pathlib import Path

import pytest

from appliance.cli import app as cli
from appliance.home import Home
from appliance.storage import Storage
from integrations.records import Note, NoteKind


class Ran:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def rows(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.out.splitlines()]


MDM = "\r".join(
    (
        r"MSH|^~\&|EHR|WARD|||20260101120000+0000||MDM^T02^MDM_T02|1|P|2.5.1",
        "PID|1||123^^^HOSP^MR||DOE^JANE",
        "TXA|1|18842-5|TX|20260101||||||||D1^HOSP||||||AU",
        "OBX|1|TX|18842-5||See cardiology.||||||F",
        "",
    )
).encode()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def run(home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def typed(*words: str) -> Ran:
        monkeypatch.setattr("sys.argv", ["clinappliance", "--home", str(home.root), *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return Ran(int(ended.value.code or 0), said.out, said.err)

    return typed


def keep(home: Home, body: bytes, reason: str = "") -> None:
    storage = Storage(home.database)
    storage.inbox.put("EHR|WARD", "1", body, reason)
    storage.close()


def test_init_says_what_it_made_and_again_that_all_is_there(run, home: Home) -> None:
    assert "made" in run("init").out
    again = run("--json", "init")
    assert (again.code, again.rows) == (0, [{"home": str(home.root), "made": []}])


@pytest.mark.parametrize("words", [("status",), ("messages", "list"), ("messages", "show", "1"), ("run",)])
def test_a_command_without_a_home_says_in_one_line_how_to_make_one(run, words) -> None:
    ran = run(*words)
    assert (ran.code, ran.out) == (1, "")
    assert "run `clinappliance --home" in ran.err
    assert ran.err.count("\n") == 1


def test_messages_are_listed_as_json_lines(run, home: Home) -> None:
    run("init")
    keep(home, b"one")
    keep(home, b"two", "no MSH")
    rows = run("--json", "messages", "list").rows
    assert [(r["message_id"], r["state"], r["reason"]) for r in rows] == [(2, "parked", "no MSH"), (1, "waiting", "")]
    assert [r["message_id"] for r in run("--json", "messages", "list", "--state", "parked").rows] == [2]


def test_a_state_that_is_none_is_wrong_usage(run) -> None:
    run("init")
    ran = run("messages", "list", "--state", "lost")
    assert ran.code == 2
    assert "waiting, claimed, done, parked" in " ".join(ran.err.split())


def test_a_message_is_shown_with_its_findings_or_told_to_be_absent(run, home: Home) -> None:
    run("init")
    keep(home, b"one")
    storage = Storage(home.database)
    storage.inbox.claim(60)
    storage.record(1, Note("note-1", NoteKind.RADIOLOGY_REPORT, "text"), [], "", reason="no task reads a radiology_report")
    storage.close()
    (shown,) = run("--json", "messages", "show", "1").rows
    assert (shown["kind"], shown["findings"], shown["reason"]) == ("radiology_report", [], "no task reads a radiology_report")
    absent = run("messages", "show", "7")
    assert (absent.code, absent.err) == (
        1,
        "clinappliance: there is no message 7; `clinappliance messages list` shows those there are\n",
    )


def test_a_text_is_shown_on_request_and_the_audit_tells_who_looked(run, home: Home) -> None:
    run("init")
    keep(home, MDM)
    keep(home, b"one", "no MSH")
    (shown,) = run("--json", "messages", "show", "1", "--text").rows
    assert shown["text"] == "See cardiology."
    refused = run("messages", "show", "2", "--text")
    assert (refused.code, "message 2 cannot be read: does not begin with MSH" in refused.err) == (1, True)
    run("messages", "replay", "2")
    assert [(r["did"], r["on"]) for r in run("--json", "audit", "show").rows] == [
        ("messages show --text", "message 1"),
        ("messages show --text", "message 2"),
        ("messages replay", "message 2"),
    ]
    (verified,) = run("--json", "audit", "verify").rows
    assert verified["lines"] == 3
    assert run("audit", "verify", "--seal", verified["seal"]).code == 0
    lines = home.audit.read_text().splitlines(keepends=True)
    home.audit.write_text("".join(lines[:2]))
    assert run("audit", "verify").code == 0
    assert "is gone" in run("audit", "verify", "--seal", verified["seal"]).err


def test_all_that_is_set_aside_is_replayed_at_once(run, home: Home) -> None:
    run("init")
    for n in range(3):
        keep(home, b"%d" % n, "no MSH")
    assert [r["message"] for r in run("--json", "messages", "replay", "--parked").rows] == [1, 2, 3]
    assert run("messages", "replay", "1").code == 1
    assert run("messages", "replay").code == 2


def test_status_says_that_nothing_runs_and_what_would_be_read(run) -> None:
    run("init")
    (found,) = run("--json", "status").rows
    assert (found["running"], found["not_ready"], found["delivers_to"]) == (False, ["not_running"], None)
    assert found["reads"] == {"discharge_summary": None, "radiology_report": None, "other": None}
    page = run("status").out
    assert "not running" in page
    assert "kept, not read: no task for this kind" in page


def test_doctor_exits_1_where_something_fails(run, home: Home) -> None:
    run("init")
    home.config.write_text("[mllp]\nprot = 1\n")
    ran = run("--json", "doctor")
    assert ran.code == 1
    assert {r["name"]: r["outcome"] for r in ran.rows}["settings"] == "fail"
