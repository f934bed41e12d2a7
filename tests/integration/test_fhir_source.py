"""Documents of a real FHIR R4 server, fetched into a real inbox."""

import base64
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from appliance.decoding import note_of
from appliance.intake import Keeper
from appliance.loop import Loop
from appliance.storage import Storage, StorageError
from integrations.codecs.hl7v2 import ROUTES
from integrations.mailbox import Format, InboxMessage
from integrations.records import Note
from integrations.transports import Refused, Retry
from integrations.transports.arriving import Arrival, Progress
from integrations.transports.fhir_server import FhirServer
from integrations.transports.fhir_source import FhirSourceConfig, Polling

HTTP = httpx.Client(trust_env=False)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Site:
    """A hospital's FHIR server, and an appliance's inbox that reads from it."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.folder = url, folder
        self.storage = Storage(folder / "appliance.db")
        self.reader = FhirServer(url, 10)
        self.clock = Clock()
        self.began = datetime.now(UTC)

    def put(self, name: str, text: str = "Rest.", kind: str = "DocumentReference", **changes: Any) -> str:
        """Make or change a document; gives its time."""
        attachment = {"contentType": "text/plain", "data": base64.b64encode(text.encode()).decode()}
        content: dict[str, Any] = {"status": "current", "content": [{"attachment": attachment}]}
        if kind == "DiagnosticReport":
            content = {"status": "final", "code": {"text": "CT"}, "presentedForm": [attachment]}
        resource = {"resourceType": kind, "id": name, "subject": {"reference": "Patient/p1"}} | content | changes
        answer = HTTP.put(f"{self.url}/{kind}/{name}", json=resource).raise_for_status().json()
        return str(answer["meta"]["lastUpdated"])

    def faults(self, *faults: dict[str, Any]) -> None:
        HTTP.post(f"{self.url.removesuffix('/fhir')}/admin/faults", json=faults).raise_for_status()

    def polling(self, keep: Callable[[Arrival], bool] | None = None, **settings: Any) -> Polling:
        config = FhirSourceConfig.model_validate(
            {"url": self.url, "overlap_s": 0, "resource_types": ["DocumentReference"]} | settings
        )
        progress = Progress(self.folder / "fhir_source.json")
        since = self.began - timedelta(milliseconds=1)
        return Polling(self.reader, config, keep or Keeper(self.storage), progress, now=lambda: since, clock=self.clock)

    def kept(self) -> list[InboxMessage]:
        found = []
        while message := self.storage.inbox.claim(60):
            found.append(message)
            self.storage.inbox.park(message.message_id, "seen")
        return found

    def names(self) -> list[str]:
        return [message.control_id.split("/")[1] for message in self.kept()]


@pytest.fixture
def site(fhir_server: str, tmp_path: Path) -> Iterator[Site]:
    opened = Site(fhir_server, tmp_path)
    # Documents of the test before lie in the same second, which a search by whole seconds finds again.
    for kind in ("DocumentReference", "DiagnosticReport"):
        for entry in HTTP.get(f"{fhir_server}/{kind}?_count=1000").json().get("entry", []):
            HTTP.delete(f"{fhir_server}/{kind}/{entry['resource']['id']}")
    yield opened
    opened.faults()
    opened.reader.close()
    opened.storage.close()


def test_documents_are_kept_once_in_order_over_many_pages_and_a_change_comes_again(site: Site) -> None:
    polling = site.polling(page_size=2)
    names = [f"d{n}" for n in range(7)]
    for name in names:
        site.put(name)
    assert polling.step() is False
    assert site.names() == names
    polling.step()
    assert site.names() == []
    site.put("d3", "Walk.")
    polling.step()
    (message,) = site.kept()
    assert (message.format, message.source) == (Format.FHIR, site.url)
    assert message.control_id.startswith("DocumentReference/d3/_history/")
    note = note_of(message, ROUTES)
    assert isinstance(note, Note)
    assert (note.text, note.document and note.document.value) == ("Walk.", "DocumentReference/d3")


def test_several_types_are_searched_for_and_one_that_is_refused_does_not_hold_up_the_others(site: Site) -> None:
    site.faults({"match": "GET /fhir/DocumentReference", "status": 400, "times": 1})
    site.put("r1", kind="DiagnosticReport")
    polling = site.polling(resource_types=["DocumentReference", "DiagnosticReport"])
    with pytest.raises(Refused, match="HTTP 400"):
        polling.step()
    assert site.names() == ["r1"]


def test_what_could_not_be_kept_comes_again_and_the_cursor_waits_for_it(site: Site) -> None:
    keep, calls = Keeper(site.storage), 0

    def full_disk(arrival: Arrival) -> bool:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise StorageError("the disk is full")
        return keep(arrival)

    names = [f"d{n}" for n in range(6)]
    for name in names:
        site.put(name)
    polling = site.polling(full_disk, page_size=2)
    with pytest.raises(StorageError):
        polling.step()
    # A new process knows nothing but the cursor and the inbox.
    site.polling(page_size=2).step()
    assert site.names() == names


def test_a_document_that_changes_while_pages_are_turned_costs_no_other_one(site: Site) -> None:
    keep = Keeper(site.storage)

    def busy(arrival: Arrival) -> bool:
        if arrival.control_id.startswith("DocumentReference/d1/") and not changed.is_set():
            changed.set()
            site.put("d0", "Changed.")  # moves to the end, and every other one a place forward
        return keep(arrival)

    changed = threading.Event()
    names = [f"d{n}" for n in range(6)]
    for name in names:
        site.put(name)
    polling = site.polling(busy, page_size=2)
    polling.step()
    polling.step()
    assert sorted(set(site.names())) == names


def test_a_server_that_does_not_sort_is_read_to_its_end_by_its_links(site: Site) -> None:
    stamps = {name: site.put(name) for name in ("a", "b", "c")}
    resources = [HTTP.get(f"{site.url}/DocumentReference/{name}").json() for name in ("c", "a")]
    page = {
        "resourceType": "Bundle",
        "type": "searchset",
        "entry": [{"resource": r} for r in resources],
        "link": [{"relation": "next", "url": f"{site.url}/DocumentReference?_id=b"}],
    }
    site.faults({"match": "GET /fhir/DocumentReference?_lastUpdated", "status": 200, "body": httpx.Response(200, json=page).text})
    site.polling().step()
    assert site.names() == ["c", "a", "b"]
    assert Progress(site.folder / "fhir_source.json").get("DocumentReference") == stamps["c"]


def test_a_server_that_wishes_to_be_left_alone_is(site: Site) -> None:
    site.put("d1")
    polling = site.polling()
    site.faults({"match": "GET /fhir/DocumentReference", "status": 503, "headers": {"Retry-After": "7"}})
    with pytest.raises(Retry, match="HTTP 503") as caught:
        polling.step()
    assert caught.value.after_s == 7
    site.clock.now += 6.9
    assert polling.step() is False
    assert site.names() == []
    site.clock.now += 0.2
    polling.step()
    assert site.names() == ["d1"]


def test_an_answer_that_is_cut_off_or_none_at_all_is_asked_for_again(site: Site) -> None:
    site.put("d1")
    polling = site.polling()
    site.faults(
        {"match": "GET /fhir/DocumentReference", "drop": True},
        {"match": "GET /fhir/DocumentReference", "status": 200, "body": "<html>log in</html>"},
        {"match": "GET /fhir/DocumentReference", "status": 200, "headers": {"Content-Length": "99"}, "body": "{"},
    )
    for trouble in (Retry, Refused, Retry):
        with pytest.raises(trouble):
            polling.step()
    polling.step()
    assert site.names() == ["d1"]


def test_pages_of_another_server_are_not_asked_for(site: Site) -> None:
    page = {"resourceType": "Bundle", "type": "searchset", "link": [{"relation": "next", "url": "https://evil.example/x"}]}
    site.faults({"match": "GET /fhir/DocumentReference", "status": 200, "body": httpx.Response(200, json=page).text})
    with pytest.raises(Refused, match="another server"):
        site.polling().step()


def link(url: str) -> dict[str, Any]:
    return {"content": [{"attachment": {"contentType": "text/plain", "url": url}}]}


@pytest.mark.parametrize("is_absolute", [False, True])
def test_a_binary_comes_with_its_document_so_that_the_message_needs_no_server(site: Site, is_absolute: bool) -> None:
    binary = {"resourceType": "Binary", "contentType": "text/plain", "data": base64.b64encode(b"See cardiology.").decode()}
    name = HTTP.post(f"{site.url}/Binary", json=binary).json()["id"]
    site.put("d1", **link(f"{site.url}/Binary/{name}" if is_absolute else f"Binary/{name}"))
    site.polling().step()
    (message,) = site.kept()
    note = note_of(message, ROUTES)
    assert isinstance(note, Note)
    assert (note.text, note.document and note.document.value) == ("See cardiology.", "DocumentReference/d1")


def test_a_binary_may_come_as_its_own_bytes(site: Site) -> None:
    site.put("d1", **link("Binary/b"))
    site.faults(
        {"match": "GET /fhir/Binary/b", "status": 200, "headers": {"Content-Type": "text/plain"}, "body": "See cardiology."}
    )
    site.polling().step()
    (message,) = site.kept()
    note = note_of(message, ROUTES)
    assert isinstance(note, Note)
    assert note.text == "See cardiology."


def arrivals_of(site: Site, polling: Callable[[Callable[[Arrival], bool]], Polling]) -> list[Arrival]:
    found: list[Arrival] = []

    def keep(arrival: Arrival) -> bool:
        found.append(arrival)
        return True

    polling(keep).step()
    return found


@pytest.mark.parametrize(
    ("url", "reason"),
    [("Binary/gone", "cannot be followed: HTTP 404"), ("https://evil.example/fhir/Binary/1", "address of another server")],
)
def test_a_link_that_leads_nowhere_is_kept_with_its_reason_and_the_next_document_read(site: Site, url: str, reason: str) -> None:
    site.put("d1", **link(url))
    site.put("d2")
    first, second = arrivals_of(site, site.polling)
    assert reason in first.unreadable_because
    assert second.unreadable_because == ""


def test_a_binary_that_its_server_cannot_give_holds_up_the_others_for_three_tries_at_most(site: Site) -> None:
    site.put("d1", **link("Binary/broken"))
    site.put("d2")
    site.faults({"match": "GET /fhir/Binary/broken", "status": 500, "times": 9})
    found: list[Arrival] = []
    polling = site.polling(lambda arrival: not found.append(arrival))
    for _ in range(2):
        with pytest.raises(Retry, match="HTTP 500"):
            polling.step()
    assert found == []
    polling.step()
    assert [a.unreadable_because for a in found] == ["its attachment is a link that cannot be followed: HTTP 500, 3 times", ""]


def test_progress_that_is_damaged_begins_anew(site: Site) -> None:
    (site.folder / "fhir_source.json").write_text('{"DocumentReference": "soon"')
    site.put("d1")
    site.polling().step()
    assert site.names() == ["d1"]


def test_the_loop_outlives_every_trouble_of_the_server(site: Site) -> None:
    kept = threading.Event()
    site.faults({"match": "GET /fhir/DocumentReference", "status": 500}, {"match": "GET /fhir/DocumentReference", "drop": True})
    keep = Keeper(site.storage, kept.set)
    loop = Loop("fhir_source", site.polling(keep).step, 0.05)
    site.put("d1")
    loop.start()
    try:
        assert kept.wait(30)
    finally:
        loop.ask_to_stop()
        loop.join(10)
