"""A discharge summary's day: sent over MLLP, acknowledged, read behind Triton, on the FHIR server, seen by Prometheus."""

import json
from pathlib import Path
from typing import Any

import httpx

from appliance.demo.messages import discharge_summary_message
from appliance.demo.note_writer import SyntheticNote, write_notes
from integrations.codecs import hl7v2
from integrations.records import NoteKind
from tests.appliance_process import Appliance, Sender, eventually
from tests.peers.prometheus import ask, running_prometheus
from tests.trained_home import TrainedHome, clinappliance


def summary_with_follow_up() -> SyntheticNote:
    """Of a patient who is in no export, with many kinds of follow-up."""
    summaries = [note for note in write_notes(60, seed=99) if note.note.kind == NoteKind.DISCHARGE_SUMMARY]
    return max(summaries, key=lambda note: sum(map(len, note.labels)))


def tasks(fhir_url: str) -> list[dict[str, Any]]:
    """Every Task on the server."""
    return [e["resource"] for e in httpx.get(f"{fhir_url}/Task", params={"_count": 500}, timeout=10).json().get("entry", [])]


def test_a_discharge_summarys_day(trained_home: TrainedHome, triton_environment: Path, fhir_server: str, tmp_path: Path) -> None:
    summary = summary_with_follow_up()
    appliance = Appliance(trained_home.home, triton_environment, fhir_server)
    appliance.start()
    try:
        appliance.wait_ready()
        with running_prometheus(tmp_path, appliance.http_port) as prometheus:
            before = {task["id"] for task in tasks(fhir_server)}
            sender = Sender(appliance.mllp_port)
            answer = sender.send(discharge_summary_message(summary))
            sender.close()
            assert hl7v2.acknowledged(answer) == ("AA", summary.note.note_id)

            file = tmp_path / "note.txt"
            file.write_bytes(summary.note.text.encode())
            (tagged,) = map(json.loads, clinappliance(trained_home.home, "--json", "tag", str(file)).stdout.splitlines())
            expected = sorted(f["text"] for f in tagged["findings"] for _ in f["labels"])
            assert expected, "a trained tagger finds something in this note"

            def delivered() -> list[dict[str, Any]]:
                return [task for task in tasks(fhir_server) if task["id"] not in before]

            eventually(lambda: len(delivered()) == len(expected), 60, appliance.said)
            # What Triton said on the way is what `tag` says in process, to the character.
            assert sorted(task["description"] for task in delivered()) == expected
            assert {(task["status"], task["intent"]) for task in delivered()} == {("requested", "proposal")}
            assert all("AIAST" in json.dumps(task["meta"]) for task in delivered())

            eventually(lambda: ask(prometheus, 'sum(clinappliance_messages_received_total{protocol="mllp"})') == 1, 30)
            eventually(lambda: ask(prometheus, "sum(clinappliance_findings_total)") == len(expected), 30)

        said = appliance.said()
        assert not [i for i in summary.identifiers if summary.note.text[i.start : i.end] in said and i.kind == "record_number"]
        assert summary.patient_name not in said
        assert not [text for text in expected if text in said]
    finally:
        assert appliance.stop() == 0
