"""hl7v2-fhir-bridge, which turns HL7 v2 into FHIR, as a sender to our listener and as a receiver of our deliveries."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.receiving import Receiver
from appliance.storage import Storage
from integrations.codecs import hl7v2, hl7v2_out
from integrations.records import Finding, Identifier, Note, NoteKind
from integrations.transports import mllp
from integrations.transports.mllp import MllpConfig
from integrations.transports.mllp_client import MllpClient, deliver
from tests.appliance_process import discharge_summary, eventually, free_ports
from tests.unit.integrations.codecs.test_hl7v2_out import AT, MODEL

pytest.importorskip("v2fhir", reason="hl7v2-fhir-bridge is not installed")
TEXT = "Café: see cardiology | in 2 weeks."


def bridge(*words: str) -> list[str]:
    return [sys.executable, "-W", "ignore", "-m", "v2fhir", *words]


def test_what_the_bridge_sends_is_kept_and_acknowledged(tmp_path: Path) -> None:
    body = discharge_summary("M1", "Café: see cardiology.")
    file = tmp_path / "message.hl7"
    file.write_bytes(body)
    storage = Storage(tmp_path / "appliance.db")

    async def listen() -> str:
        receiver = Receiver(storage, hl7v2.ROUTES)
        async with mllp.serve(MllpConfig(port=0), receiver, receiver.all) as port:
            command = bridge("send", "--port", str(port), str(file))
            done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=True)
            return done.stdout

    assert "MSA|AA|M1" in asyncio.run(listen())
    kept = storage.inbox.claim(60)
    assert kept is not None
    note = hl7v2.note(hl7v2.read(kept.body))
    assert isinstance(note, Note)
    assert note.text == "Café: see cardiology."
    storage.close()


def test_what_we_deliver_twice_comes_out_of_the_bridge_once_preliminary_and_in_the_very_words(tmp_path: Path) -> None:
    note = Note("n1", NoteKind.DISCHARGE_SUMMARY, TEXT, Identifier("P1", "urn:oid:1.2.3"))
    finding = Finding("1" * 64, "n1", 0, len(TEXT), TEXT, "Appointment", 0.9, str(MODEL), AT)
    (port,) = free_ports(1)
    log = tmp_path / "bridge.log"
    with log.open("w") as said:
        command = bridge("serve", "--port", str(port), "--out", str(tmp_path / "out"))
        process = subprocess.Popen(command, stdout=said, stderr=said)
    try:
        eventually(lambda: "MLLP listening" in log.read_text(), 30, log.read_text)
        with MllpClient("127.0.0.1", port, 10) as client:
            for _ in range(2):
                deliver(client, hl7v2_out.results(note, [finding], MODEL))
    finally:
        process.terminate()
        process.wait(10)
    (written,) = (tmp_path / "out").glob("*.json")
    resources = [entry["resource"] for entry in json.loads(written.read_text())["entry"]]
    (report,) = [r for r in resources if r["resourceType"] == "DiagnosticReport"]
    assert (report["status"], report["conclusion"]) == ("preliminary", TEXT)
    assert [r["identifier"][0]["value"] for r in resources if r["resourceType"] == "Patient"] == ["P1"]
