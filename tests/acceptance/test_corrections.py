"""A document's life, told at the FHIR server's end: what stands there after its versions came over MLLP."""

from collections import Counter
from collections.abc import Iterator
from typing import Any
from zlib import crc32

import httpx
import pytest

from integrations.codecs import hl7v2
from tests.appliance_process import Appliance, Sender, eventually, make_home

CARDIOLOGY = "Follow up with cardiology in two weeks."
POTASSIUM = "Recheck the potassium on Friday."
ASPIRIN = "Take the aspirin daily."
FEVER = "Call the clinic if you have a fever."


class Ward:
    """A sender of documents about one patient, and what the EHR shows about that patient."""

    def __init__(self, appliance: Appliance, url: str, patient: str) -> None:
        self.appliance, self.url, self.patient = appliance, url, patient
        self.sent = 0

    def sends(
        self, event: str, document: str, *sentences: str, completion: str = "AU", available: str = "AV", parent: str = ""
    ) -> None:
        """One MDM, until it has ended in the appliance and all that it owes has been delivered."""
        self.sent += 1
        control_id = f"{self.patient}-{self.sent}"
        segments = [
            rf"MSH|^~\&|EHR|WARD|||202601011200{self.sent:02}+0000||MDM^{event}^MDM_T02|{control_id}|P|2.5.1",
            f"EVN|{event}|20260101120000",
            f"PID|1||{self.patient}^^^HOSP^MR||TESTPATIENT^JANE",
            "PV1|1|I|||||||||||||||||V1^^^HOSP",
            f"TXA|1|18842-5|TX|20260101||||||||{self._named(document)}|{self._named(parent)}||||{completion}||{available}",
            *(f"OBX|{n}|TX|18842-5||{sentence}||||||F" for n, sentence in enumerate(sentences, 1)),
        ]
        sender = Sender(self.appliance.mllp_port)
        assert hl7v2.acknowledged(sender.send("\r".join([*segments, ""]).encode()))[0] == "AA"
        sender.close()
        eventually(lambda: self._has_settled(), 60, self.appliance.said)

    def _named(self, document: str) -> str:
        """A document's number at the EHR, where no two patients share one."""
        return f"{self.patient}-{document}^EHR" if document else ""

    def _has_settled(self) -> bool:
        (report,) = self.appliance.ask("status")
        queues: Any = report["queues"]
        return all(queues[stage][state] == 0 for stage in ("inbox", "outbox") for state in ("waiting", "claimed"))

    def tasks(self) -> list[dict[str, Any]]:
        """Every Task about the patient."""
        found = httpx.get(f"{self.url}/Task", params={"_count": 1000}, trust_env=False).json().get("entry", [])
        every = [entry["resource"] for entry in found]
        return [task for task in every if task.get("for", {}).get("identifier", {}).get("value") == self.patient]

    def shown(self, *statuses: str) -> set[str]:
        """The sentences of the Tasks that are in one of these states."""
        return {task["description"] for task in self.tasks() if task["status"] in statuses and task["code"]["text"] != "Review"}

    def reviews(self) -> list[dict[str, Any]]:
        """The Tasks that ask for a look."""
        return [task for task in self.tasks() if task["code"]["text"] == "Review"]

    def nurse_sets(self, sentence: str, status: str) -> None:
        """A person moves on every Task about a sentence."""
        for task in self.tasks():
            if task["description"] == sentence and task["status"] == "requested":
                httpx.put(f"{self.url}/Task/{task['id']}", json=task | {"status": status}, trust_env=False).raise_for_status()


@pytest.fixture(scope="module")
def appliance(fhir_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Appliance]:
    appliance = Appliance(make_home(tmp_path_factory.mktemp("corrections") / "home"), None, fhir_server)
    appliance.start()
    appliance.wait_ready()
    yield appliance
    assert appliance.stop() == 0


@pytest.fixture
def ward(appliance: Appliance, fhir_server: str, request: pytest.FixtureRequest) -> Ward:
    return Ward(appliance, fhir_server, f"MRN{crc32(request.node.name.encode())}")


def test_preliminary_final_corrected_cancelled(ward: Ward) -> None:
    ward.sends("T02", "D1", CARDIOLOGY, POTASSIUM, completion="DI")
    assert ward.shown("requested") == {CARDIOLOGY, POTASSIUM}
    first = {task["id"] for task in ward.tasks()}

    ward.sends("T08", "D1", CARDIOLOGY, POTASSIUM, ASPIRIN, completion="AU")
    assert ward.shown("requested") == {CARDIOLOGY, POTASSIUM, ASPIRIN}
    assert {t["id"] for t in ward.tasks() if t["description"] in (CARDIOLOGY, POTASSIUM)} == first, "what stays is not sent again"

    ward.sends("T08", "D1", CARDIOLOGY, FEVER, completion="LA")
    assert ward.shown("requested") == {CARDIOLOGY, FEVER}
    assert ward.shown("cancelled") == {POTASSIUM, ASPIRIN}

    ward.sends("T11", "D1", available="CA")
    assert ward.shown("requested") == set()
    assert ward.shown("cancelled") == {CARDIOLOGY, POTASSIUM, ASPIRIN, FEVER}
    assert ward.reviews() == []


def test_an_addendum_stands_beside_what_it_adds_to(ward: Ward) -> None:
    ward.sends("T02", "D1", CARDIOLOGY)
    ward.sends("T06", "D2", POTASSIUM, parent="D1")
    assert ward.shown("requested") == {CARDIOLOGY, POTASSIUM}
    assert ward.shown("cancelled") == set()


def test_a_replacement_takes_the_place_of_its_document_also_when_that_comes_again(ward: Ward) -> None:
    ward.sends("T02", "D1", CARDIOLOGY, POTASSIUM)
    ward.sends("T10", "D2", CARDIOLOGY, ASPIRIN, parent="D1")
    ward.sends("T02", "D1", CARDIOLOGY, POTASSIUM, FEVER)
    assert ward.shown("requested") == {CARDIOLOGY, ASPIRIN}
    assert ward.shown("cancelled") == {POTASSIUM}


def test_a_late_preliminary_version_changes_nothing(ward: Ward) -> None:
    ward.sends("T02", "D1", CARDIOLOGY, completion="LA")
    ward.sends("T02", "D1", POTASSIUM, completion="DI")
    assert ward.shown("requested") == {CARDIOLOGY}
    assert ward.shown("cancelled") == set()


def test_a_task_that_a_nurse_has_completed_is_left_and_raised_for_review(ward: Ward) -> None:
    ward.sends("T02", "D1", CARDIOLOGY, POTASSIUM)
    ward.nurse_sets(POTASSIUM, "completed")
    ward.sends("T11", "D1", available="CA")
    assert ward.shown("completed") == {POTASSIUM}
    assert ward.shown("cancelled") == {CARDIOLOGY}
    about = Counter(task["focus"]["reference"] for task in ward.reviews())
    assert about == {f"Task/{task['id']}": 1 for task in ward.tasks() if task["status"] == "completed"}
