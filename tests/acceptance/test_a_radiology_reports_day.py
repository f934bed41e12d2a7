"""A radiology report's day: sent over MLLP, asked what its order and its study ask, answered at the FHIR server."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from appliance.registry import Registry
from integrations.codecs import fhir, hl7v2
from tests import tiny_bundle
from tests.appliance_process import Appliance, Sender, discharge_summary, eventually, make_home

LINES = (
    "TECHNIQUE: Axial images with contrast.",
    "",
    "FINDINGS: There is a filling defect in the right lower lobe. A 6 mm nodule is seen in the left upper lobe.",
    "No fracture of the ribs.",
    "",
    "IMPRESSION: Acute pulmonary embolism. Follow-up CT of the nodule in 12 months is recommended.",
)
REPORT = "\n".join(LINES)
STUDY = ("How large is the nodule?", "Is there pericardial calcification?")
ASKED = ("Is there pulmonary embolism?", *STUDY, "Is there an acute abnormality?", "Is any follow-up imaging recommended?")


def radiology_report(control_id: str, lines: Sequence[str] = LINES, status: str = "F", number: str = "") -> bytes:
    """An ORU^R01 as a radiology system sends it, one OBX a line, with what the order was for; `number` is the report's own."""
    segments = [
        rf"MSH|^~\&|RIS|RAD|||20260101120000+0000||ORU^R01^ORU_R01|{control_id}|P|2.5.1",
        "PID|1||123^^^HOSP^MR||TESTPATIENT^JANE",
        "PV1|1|I|||||||||||||||||V1^^^HOSP",
        f"OBR|1||{number or 'R' + control_id}^RIS|CTCHEST^CT chest^L|||20260101110000+0000{'|' * 15}20260101115500+0000||RAD"
        f"|{status}"
        "||||||^Chest pain\\T\\syncope, r/o pulmonary embolism",
        *(f"OBX|{n}|TX|18748-4^Diagnostic imaging study^LN||{line}||||||{status}" for n, line in enumerate(lines, 1)),
    ]
    return "\r".join([*segments, ""]).encode()


@pytest.fixture(scope="module")
def appliance(tmp_path_factory: pytest.TempPathFactory, triton_environment: Path, fhir_server: str) -> Iterator[Appliance]:
    """One with a tagger and a reader of reports behind Triton."""
    home = make_home(tmp_path_factory.mktemp("reports") / "home")
    registry = Registry(home.models)
    registry.promote(registry.add("reader", "radqa", lambda at, version: tiny_bundle.write_reader(at, "reader", version)))
    running = Appliance(home, triton_environment, fhir_server)
    questions = f"[questions]\nby_study = {{ CTCHEST = {json.dumps(STUDY)} }}\n"
    home.config.write_text(home.config.read_text() + questions)
    running.start()
    running.wait_whole()
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="module")
def sender(appliance: Appliance) -> Iterator[Sender]:
    connected = Sender(appliance.mllp_port)
    yield connected
    connected.close()


def at_server(url: str, kind: str, document: str) -> list[dict[str, Any]]:
    """The resources of a kind about one document, oldest first."""
    entries = httpx.get(f"{url}/{kind}", params={"_count": 1000}, timeout=10).raise_for_status().json().get("entry", [])
    return [e["resource"] for e in entries if f'"value": "{document}"' in json.dumps(e["resource"])]


def test_a_radiology_reports_day(appliance: Appliance, sender: Sender, fhir_server: str, tmp_path: Path) -> None:
    assert hl7v2.acknowledged(sender.send(radiology_report("M1"))) == ("AA", "M1")
    eventually(lambda: len(at_server(fhir_server, "Observation", "RM1")) == len(ASKED), 60, appliance.said)
    found = {o["code"]["text"]: o for o in at_server(fhir_server, "Observation", "RM1")}
    assert found.keys() == set(ASKED)
    assert {(o["status"], o["subject"]["identifier"]["value"]) for o in found.values()} == {("preliminary", "123")}
    assert all(o["meta"]["security"] == [fhir.AIAST] and o["focus"][0]["type"] == "DiagnosticReport" for o in found.values())
    assert found[ASKED[0]]["valueString"] == "Acute pulmonary embolism"
    assert "6 mm" in found[STUDY[0]]["valueString"]
    assert found[STUDY[1]]["dataAbsentReason"]["text"] == fhir.NOT_ANSWERED

    # What Triton said on the way is what `ask` says in process, to the character.
    file = tmp_path / "report.txt"
    file.write_text(REPORT)
    for question in ASKED:
        (said,) = appliance.ask("ask", str(file), question)
        assert found[question].get("valueString") == said["answer"]
        assert ("note" in found[question]) == ("unsure" in said)

    (provenance,) = at_server(fhir_server, "Provenance", "RM1")
    assert len(provenance["target"]) == len(ASKED)


def test_the_message_is_shown_with_what_was_asked_and_answered(appliance: Appliance, sender: Sender) -> None:
    sender.send(radiology_report("M2"))
    eventually(lambda: appliance.ask("messages", "list")[0]["state"] == "done")
    number = str(appliance.ask("messages", "list")[0]["message_id"])
    (shown,) = appliance.ask("messages", "show", number)
    assert (shown["kind"], shown["model"]) == ("radiology_report", "reader@1")
    answers = {f["question"]: f["answer"] for f in shown["findings"]}
    assert answers.keys() == set(ASKED)
    assert answers[STUDY[1]] is None
    assert answers[ASKED[0]] == "Acute pulmonary embolism"
    assert all(REPORT[f["start"] : f["end"]] == f["answer"] for f in shown["findings"] if f["answer"])
    page = appliance.tell("messages", "show", number)
    assert "Is there pericardial calcification? " in page
    assert "not answered in this report" in page


def test_read_again_it_changes_nothing_at_the_server(appliance: Appliance, sender: Sender, fhir_server: str) -> None:
    sender.send(radiology_report("M3"))
    eventually(lambda: len(at_server(fhir_server, "Observation", "RM3")) == len(ASKED), 60, appliance.said)
    before = at_server(fhir_server, "Observation", "RM3")
    number = str(appliance.ask("messages", "list")[0]["message_id"])
    appliance.tell("messages", "replay", number)
    eventually(lambda: appliance.ask("messages", "list")[0]["state"] == "done")
    eventually(lambda: all(d["state"] == "done" for d in appliance.ask("messages", "show", number)[0]["deliveries"]))
    assert at_server(fhir_server, "Observation", "RM3") == before


def test_a_corrected_report_takes_back_what_it_answers_otherwise_now(
    appliance: Appliance, sender: Sender, fhir_server: str
) -> None:
    sender.send(radiology_report("M6"))
    eventually(lambda: len(at_server(fhir_server, "Observation", "RM6")) == len(ASKED), 60, appliance.said)
    before = {o["code"]["text"]: o for o in at_server(fhir_server, "Observation", "RM6")}
    corrected = [line.replace("Acute pulmonary embolism.", "No pulmonary embolism.") for line in LINES]
    sender.send(radiology_report("M7", corrected, "C", "RM6"))

    def about_embolism() -> dict[str, str]:
        found = [o for o in at_server(fhir_server, "Observation", "RM6") if o["code"]["text"] == ASKED[0]]
        return {o["valueString"]: o["status"] for o in found}

    now = {"Acute pulmonary embolism": "cancelled", "No pulmonary embolism": "preliminary"}
    eventually(lambda: about_embolism() == now, 60, appliance.said)
    others = [o for o in at_server(fhir_server, "Observation", "RM6") if o["code"]["text"] in STUDY]
    assert sorted(o["id"] for o in others) == sorted(before[question]["id"] for question in STUDY), "kept as they were"
    assert {o["status"] for o in others} == {"preliminary"}


def test_beside_reports_summaries_are_tagged(appliance: Appliance, sender: Sender, fhir_server: str) -> None:
    sender.send(discharge_summary("M4", "Follow up with cardiology in two weeks. Recheck the potassium on Friday."))
    eventually(lambda: at_server(fhir_server, "Task", "DM4"), 60, appliance.said)
    assert at_server(fhir_server, "Observation", "DM4") == []


def test_no_word_of_a_report_nor_of_a_question_is_logged(appliance: Appliance, sender: Sender) -> None:
    sender.send(radiology_report("M5"))
    eventually(lambda: appliance.ask("messages", "list")[0]["state"] == "done")
    told = appliance.said() + httpx.get(f"http://127.0.0.1:{appliance.http_port}/metrics").text
    assert [word for word in ("embolism", "nodule", "syncope", "calcification", "TESTPATIENT") if word in told] == []
    assert 'clinappliance_findings_total{label="answered"}' in told
    assert 'clinappliance_findings_total{label="not_answered"}' in told
