"""A hospital that is told findings by FHIR and by HL7 v2, on a day when its FHIR server is down."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from integrations.codecs import er7
from tests.appliance_process import COMMAND, ROOT, Appliance, Sender, discharge_summary, eventually, free_ports, make_home
from tests.peers.hl7_peers import Receiver, python_receiver


@pytest.fixture
def ris() -> Iterator[Receiver]:
    with python_receiver() as receiver:
        yield receiver


def test_a_fhir_server_that_is_down_holds_up_no_hl7_and_everybody_can_see_it(tmp_path: Path, ris: Receiver) -> None:
    (dead,) = free_ports(1)
    appliance = Appliance(make_home(tmp_path), None, f"http://127.0.0.1:{dead}/fhir")
    with appliance.home.config.open("a") as settings:
        settings.write(f'[hl7_out.ris]\nhost = "127.0.0.1"\nport = {ris.port}\nreceiving_application = "RIS"\ntls = false\n')
    appliance.start()
    sender = Sender(appliance.mllp_port)
    try:
        appliance.wait_ready()
        for n in range(4):
            body = discharge_summary(f"M{n}", f"See cardiology in {n} weeks.").replace(b"|123^", b"|12%d^" % n)
            assert b"MSA|AA" in sender.send(body)
        eventually(lambda: len(ris.received) >= 4, 60, appliance.said)
        told = [er7.read(m.encode()) for m in ris.received]
        assert [m.text(m.first("OBX"), 5) for m in told] == [f"See cardiology in {n} weeks." for n in range(4)]
        # The source's patient and document, in a message of its own.
        assert [m.first("PID").raw(3) for m in told] == [f"12{n}^^^HOSP^MR" for n in range(4)]
        assert [m.first("OBR").raw(3) for m in told] == [f"DM{n}^HOSP" for n in range(4)]
        eventually(lambda: "delivery_paused_fhir" in appliance.readiness()["degraded"], 60, appliance.said)
        (status,) = appliance.ask("status")
        found = status["destinations"]
        assert isinstance(found, dict)
        assert (found["fhir"]["paused"], found["fhir"]["waiting"] + found["fhir"]["claimed"]) == (True, 4)
        assert (found["ris"]["paused"], found["ris"]["waiting"], found["ris"]["parked"]) == (False, 0, 0)
        assert "to fhir" in (page := appliance.tell("status"))
        assert "it does not take deliveries now" in page
        doctor = {row["name"]: row["outcome"] for row in examined(appliance)}
        assert (doctor["fhir"], doctor["hl7_out ris"]) == ("fail", "ok")
    finally:
        sender.close()
        assert appliance.stop() == 0, appliance.said()


def examined(appliance: Appliance) -> list[dict[str, str]]:
    """What `doctor` finds; it exits 1, because a destination is down."""
    command = [*COMMAND, "--home", str(appliance.home.root), "--json", "doctor"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]
