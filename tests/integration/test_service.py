"""`clinappliance run` as a process: from an MLLP message to its findings, and how it starts, refuses and ends."""

import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from appliance.registry import Registry
from integrations.codecs import hl7v2
from tests import tiny_bundle
from tests.appliance_process import Appliance, Sender, discharge_summary, eventually, make_home

TEXT = "Follow up with cardiology in two weeks. Recheck the potassium on Friday."


@pytest.fixture(scope="module")
def appliance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Appliance]:
    """One that reads in its own process, for all tests that leave it running."""
    running = Appliance(make_home(tmp_path_factory.mktemp("service") / "home"), None)
    running.start()
    running.wait_ready()
    yield running
    assert running.stop() == 0


@pytest.fixture
def sender(appliance: Appliance) -> Iterator[Sender]:
    connected = Sender(appliance.mllp_port)
    yield connected
    connected.close()


def test_a_message_is_acknowledged_read_and_shown_with_sentences_that_stand_in_it(appliance: Appliance, sender: Sender) -> None:
    assert hl7v2.acknowledged(sender.send(discharge_summary("S1", TEXT))) == ("AA", "S1")
    eventually(lambda: appliance.ask("messages", "list")[0]["state"] == "done")
    (shown,) = appliance.ask("messages", "show", str(appliance.ask("messages", "list")[0]["message_id"]))
    assert (shown["model"], shown["kind"], shown["deliveries"]) == ("tiny@1", "discharge_summary", [])
    findings = shown["findings"]
    assert isinstance(findings, list)
    assert findings
    assert [TEXT[f["start"] : f["end"]] for f in findings] == [f["text"] for f in findings]


def test_many_messages_on_one_connection_are_all_acknowledged(appliance: Appliance, sender: Sender) -> None:
    answers = [sender.send(discharge_summary(f"M{n}", TEXT)) for n in range(50)]
    assert [hl7v2.acknowledged(a) for a in answers] == [("AA", f"M{n}") for n in range(50)]


def test_what_nobody_can_read_is_rejected_and_listed_with_its_reason(appliance: Appliance, sender: Sender) -> None:
    message = discharge_summary("U1", TEXT).replace(b"123^^^HOSP^MR", b"")
    assert hl7v2.acknowledged(sender.send(message)) == ("AR", "U1")
    assert appliance.ask("messages", "list", "--state", "parked")[0]["reason"] == "PID-3 names no patient"


def test_status_and_doctor_find_the_running_appliance(appliance: Appliance) -> None:
    assert appliance.process is not None
    (found,) = appliance.ask("status")
    assert (found["running"], found["pid"], found["not_ready"]) == (True, appliance.process.pid, [])
    assert {c["name"]: c["outcome"] for c in appliance.ask("doctor")}["ports"] == "ok"


def test_metrics_count_what_came_and_what_was_found(appliance: Appliance, sender: Sender) -> None:
    sender.send(discharge_summary("P1", TEXT))
    eventually(lambda: appliance.ask("messages", "list")[0]["state"] == "done")
    text = httpx.get(f"http://127.0.0.1:{appliance.http_port}/metrics").text
    assert 'clinappliance_model_info{engine="local",model="tiny@1",task="clip"} 1.0' in text
    assert "clinappliance_ready 1.0" in text
    assert 'clinappliance_messages_ended_total{outcome="read"}' in text
    assert 'clinappliance_findings_total{label="' in text


def test_no_word_of_a_note_nor_an_identifier_reaches_log_or_metrics(appliance: Appliance, sender: Sender) -> None:
    sender.send(discharge_summary("SECRETID", "The zebra gallops. Recheck the potassium."))
    eventually(lambda: appliance.ask("messages", "list")[0]["state"] == "done")
    told = appliance.said() + httpx.get(f"http://127.0.0.1:{appliance.http_port}/metrics").text
    assert [word for word in ("zebra", "potassium", "TESTPATIENT", "SECRETID", "HOSP") if word in told] == []


def test_a_second_run_on_the_same_home_is_refused_in_one_line(appliance: Appliance) -> None:
    other = Appliance.__new__(Appliance)
    other.home, before = appliance.home, len(appliance.said())
    other.start()
    assert other.process is not None
    assert other.process.wait(30) == 1
    assert "runs this appliance already; stop it first" in appliance.said()[before:]
    assert appliance.said()[before:].count("\n") == 1


def run_to_its_end(appliance: Appliance) -> tuple[int, list[str]]:
    appliance.start()
    assert appliance.process is not None
    code = appliance.process.wait(60)
    return code, [line for line in appliance.said().splitlines() if line.startswith("clinappliance:")]


@pytest.mark.parametrize("setting", ["mllp", "http"])
def test_a_port_in_use_is_told_in_one_line_with_the_setting_that_moves_it(tmp_path: Path, setting: str) -> None:
    appliance = Appliance(make_home(tmp_path / "home"), None)
    port = {"mllp": appliance.mllp_port, "http": appliance.http_port}[setting]
    with socket.create_server(("127.0.0.1", port)):
        code, (line,) = run_to_its_end(appliance)
    assert code == 1
    assert f"{port} (" in line
    assert f"[{setting}] host or port" in line


def test_a_triton_environment_that_is_not_there_is_told_in_one_line(tmp_path: Path) -> None:
    code, (line,) = run_to_its_end(Appliance(make_home(tmp_path / "home"), tmp_path / "absent"))
    assert code == 1
    assert "Triton's environment is not in" in line


def test_without_a_model_messages_are_taken_and_wait(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    (home.models / "promoted.json").unlink()
    appliance = Appliance(home, None)
    appliance.start()
    eventually(lambda: appliance.not_ready() == ["no_model"], 30, appliance.said)
    sender = Sender(appliance.mllp_port)
    assert hl7v2.acknowledged(sender.send(discharge_summary("W1", TEXT))) == ("AA", "W1")
    sender.close()
    assert appliance.ask("messages", "list")[0]["state"] == "waiting"
    assert appliance.stop(signal.SIGINT) == 0


def test_stopping_ends_triton_too_and_leaves_nothing_claimed(tmp_path: Path, triton_environment: Path) -> None:
    appliance = Appliance(make_home(tmp_path / "home"), triton_environment)
    appliance.start()
    appliance.wait_whole()
    assert appliance.process is not None
    family = psutil.Process(appliance.process.pid).children(recursive=True)
    assert [p for p in family if "tritonserver" in p.name()]
    sender = Sender(appliance.mllp_port)
    for n in range(20):
        sender.send(discharge_summary(f"T{n}", TEXT))
    assert appliance.stop() == 0
    sender.close()
    assert not any(p.is_running() for p in family)
    states = {m["state"] for m in appliance.ask("messages", "list")}
    assert states <= {"done", "waiting"}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
def test_notes_are_read_while_triton_is_gone_and_by_triton_again_afterwards(
    number: signal.Signals, tmp_path: Path, triton_environment: Path
) -> None:
    appliance = Appliance(make_home(tmp_path / "home"), triton_environment)
    appliance.start()
    appliance.wait_whole()
    assert appliance.process is not None
    family = psutil.Process(appliance.process.pid).children(recursive=True)
    (triton,) = [p for p in family if p.name() == "tritonserver"]
    triton.send_signal(number)
    sender = Sender(appliance.mllp_port)
    for n in range(20):
        assert hl7v2.acknowledged(sender.send(discharge_summary(f"K{n}", TEXT))) == ("AA", f"K{n}")
    sender.close()
    eventually(lambda: len(appliance.ask("messages", "list", "--state", "done")) == 20, 5, appliance.said)
    assert appliance.not_ready() == []
    if number is signal.SIGSTOP:
        assert appliance.readiness()["degraded"] == ["triton_not_used"]
        assert "Triton cannot be believed now" in appliance.tell("status")
        triton.send_signal(signal.SIGCONT)
    eventually(lambda: appliance.readiness()["degraded"] == [], 60, appliance.said)
    assert "clinappliance_engine_fallbacks_total 1.0" in httpx.get(f"http://127.0.0.1:{appliance.http_port}/metrics").text
    assert appliance.stop() == 0


def test_a_model_is_promoted_and_taken_back_behind_triton_while_messages_come(tmp_path: Path, triton_environment: Path) -> None:
    home = make_home(tmp_path / "home")
    Registry(home.models).add("tiny", "clip", lambda folder, version: tiny_bundle.write(folder, "tiny", version, seed=1))
    appliance = Appliance(home, triton_environment)
    appliance.start()
    try:
        appliance.wait_whole()
        sender = Sender(appliance.mllp_port)
        sent = 0

        def send() -> str:
            nonlocal sent
            sent += 1
            assert hl7v2.acknowledged(sender.send(discharge_summary(f"P{sent}", TEXT)))[0] == "AA"
            eventually(lambda: len(appliance.ask("messages", "list", "--state", "done")) == sent)
            return str(appliance.ask("messages", "show", str(sent))[0]["model"])

        assert send() == "tiny@1"
        for model, words in (("tiny@2", ("promote", "tiny@2")), ("tiny@1", ("rollback",))):
            appliance.ask("models", *words)
            eventually(lambda model=model: send() == model)
        assert appliance.not_ready() == []
        sender.close()
    finally:
        assert appliance.stop() == 0
    assert "failed" not in appliance.said()
    assert appliance.ask("messages", "list", "--state", "parked") == []


def test_a_candidate_reads_its_share_of_the_notes_and_is_compared_until_it_is_stopped(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    Registry(home.models).add("tiny", "clip", lambda folder, version: tiny_bundle.write(folder, "tiny", version, seed=1))
    appliance = Appliance(home, None)
    appliance.start()
    try:
        appliance.wait_ready()
        assert appliance.ask("models", "try", "tiny@2", "--share", "50") == [{"candidate": "tiny@2", "share": 0.5}]
        assert [row["candidate"] for row in appliance.ask("models", "list")] == [None, 0.5]
        eventually(lambda: "a candidate is tried" in appliance.said())
        sender = Sender(appliance.mllp_port)
        for n in range(30):
            assert hl7v2.acknowledged(sender.send(discharge_summary(f"C{n}", f"{TEXT} {n}.")))[0] == "AA"
        eventually(lambda: len(appliance.ask("messages", "list", "--state", "done")) == 30)
        models = {str(appliance.ask("messages", "show", str(n + 1))[0]["model"]) for n in range(30)}
        assert models == {"tiny@1", "tiny@2"}
        url = f"http://127.0.0.1:{appliance.http_port}/metrics"
        eventually(lambda: 'clinappliance_candidate_sentences_total{outcome="different"}' in httpx.get(url).text)
        appliance.ask("models", "try", "--stop")
        assert [row["candidate"] for row in appliance.ask("models", "list")] == [None, None]
        sender.close()
    finally:
        assert appliance.stop() == 0
