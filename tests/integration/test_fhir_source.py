"""Documents of a real FHIR R4 server, fetched into a real inbox as they change."""

import base64
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import uvicorn

from appliance.decoding import note_of
from appliance.intake import FHIR_SOURCE, Keeper, notifications
from appliance.loop import Loop
from appliance.storage import StorageError
from appliance.web import app as web
from integrations.codecs.hl7v2 import ROUTES
from integrations.mailbox import Format
from integrations.records import Note
from integrations.transports import Refused, Retry, TransportError
from integrations.transports.arriving import Arrival, Progress
from integrations.transports.fhir_server import FhirServer
from integrations.transports.fhir_source import FhirSourceConfig, Polling
from integrations.transports.smart_backend import FhirAuthConfig, login
from tests.fhir_site import HTTP, Site


def test_documents_are_kept_once_in_order_over_many_pages_and_a_change_comes_again(fhir_site: Site) -> None:
    polling = fhir_site.polling(page_size=2)
    names = [f"d{n}" for n in range(7)]
    for name in names:
        fhir_site.put(name)
    assert polling.step() is False
    assert fhir_site.names() == names
    polling.step()
    assert fhir_site.names() == []
    fhir_site.put("d3", "Walk.")
    polling.step()
    (message,) = fhir_site.kept()
    assert (message.format, message.source) == (Format.FHIR, fhir_site.url)
    assert message.control_id.startswith("DocumentReference/d3/_history/")
    note = note_of(message, ROUTES)
    assert isinstance(note, Note)
    assert (note.text, note.document and note.document.value) == ("Walk.", "DocumentReference/d3")


def test_several_types_are_searched_for_and_one_that_is_refused_does_not_hold_up_the_others(fhir_site: Site) -> None:
    fhir_site.faults({"match": "GET /fhir/DocumentReference", "status": 400, "times": 1})
    fhir_site.put("r1", kind="DiagnosticReport")
    polling = fhir_site.polling(resource_types=["DocumentReference", "DiagnosticReport"])
    with pytest.raises(Refused, match="HTTP 400"):
        polling.step()
    assert fhir_site.names() == ["r1"]


def test_what_could_not_be_kept_comes_again_and_the_cursor_waits_for_it(fhir_site: Site) -> None:
    keep, calls = Keeper(fhir_site.storage), 0

    def full_disk(arrival: Arrival) -> bool:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise StorageError("the disk is full")
        return keep(arrival)

    names = [f"d{n}" for n in range(6)]
    for name in names:
        fhir_site.put(name)
    polling = fhir_site.polling(full_disk, page_size=2)
    with pytest.raises(StorageError):
        polling.step()
    # A new process knows nothing but the cursor and the inbox.
    fhir_site.polling(page_size=2).step()
    assert fhir_site.names() == names


def test_a_document_that_changes_while_pages_are_turned_costs_no_other_one(fhir_site: Site) -> None:
    keep = Keeper(fhir_site.storage)

    def busy(arrival: Arrival) -> bool:
        if arrival.control_id.startswith("DocumentReference/d1/") and not changed.is_set():
            changed.set()
            fhir_site.put("d0", "Changed.")  # moves to the end, and every other one a place forward
        return keep(arrival)

    changed = threading.Event()
    names = [f"d{n}" for n in range(6)]
    for name in names:
        fhir_site.put(name)
    polling = fhir_site.polling(busy, page_size=2)
    polling.step()
    polling.step()
    assert sorted(set(fhir_site.names())) == names


def test_a_server_that_does_not_sort_is_read_to_its_end_by_its_links(fhir_site: Site) -> None:
    stamps = {name: fhir_site.put(name) for name in ("a", "b", "c")}
    resources = [HTTP.get(f"{fhir_site.url}/DocumentReference/{name}").json() for name in ("c", "a")]
    page = {
        "resourceType": "Bundle",
        "type": "searchset",
        "entry": [{"resource": r} for r in resources],
        "link": [{"relation": "next", "url": f"{fhir_site.url}/DocumentReference?_id=b"}],
    }
    fhir_site.faults(
        {"match": "GET /fhir/DocumentReference?_lastUpdated", "status": 200, "body": httpx.Response(200, json=page).text}
    )
    fhir_site.polling().step()
    assert fhir_site.names() == ["c", "a", "b"]
    assert Progress(fhir_site.folder / "fhir_source.json").get("DocumentReference") == stamps["c"]


def test_a_server_that_wishes_to_be_left_alone_is(fhir_site: Site) -> None:
    fhir_site.put("d1")
    polling = fhir_site.polling()
    fhir_site.faults({"match": "GET /fhir/DocumentReference", "status": 503, "headers": {"Retry-After": "7"}})
    with pytest.raises(Retry, match="HTTP 503") as caught:
        polling.step()
    assert caught.value.after_s == 7
    fhir_site.clock.now += 6.9
    assert polling.step() is False
    assert fhir_site.names() == []
    fhir_site.clock.now += 0.2
    polling.step()
    assert fhir_site.names() == ["d1"]


def test_an_answer_that_is_cut_off_or_none_at_all_is_asked_for_again(fhir_site: Site) -> None:
    fhir_site.put("d1")
    polling = fhir_site.polling()
    fhir_site.faults(
        {"match": "GET /fhir/DocumentReference", "drop": True},
        {"match": "GET /fhir/DocumentReference", "status": 200, "body": "<html>log in</html>"},
        {"match": "GET /fhir/DocumentReference", "status": 200, "headers": {"Content-Length": "99"}, "body": "{"},
    )
    for trouble in (Retry, Refused, Retry):
        with pytest.raises(trouble):
            polling.step()
    polling.step()
    assert fhir_site.names() == ["d1"]


def test_pages_of_another_server_are_not_asked_for(fhir_site: Site) -> None:
    page = {"resourceType": "Bundle", "type": "searchset", "link": [{"relation": "next", "url": "https://evil.example/x"}]}
    fhir_site.faults({"match": "GET /fhir/DocumentReference", "status": 200, "body": httpx.Response(200, json=page).text})
    with pytest.raises(Refused, match="another server"):
        fhir_site.polling().step()


def link(url: str) -> dict[str, Any]:
    return {"content": [{"attachment": {"contentType": "text/plain", "url": url}}]}


@pytest.mark.parametrize("is_absolute", [False, True])
def test_a_binary_comes_with_its_document_so_that_the_message_needs_no_server(fhir_site: Site, is_absolute: bool) -> None:
    binary = {"resourceType": "Binary", "contentType": "text/plain", "data": base64.b64encode(b"See cardiology.").decode()}
    name = HTTP.post(f"{fhir_site.url}/Binary", json=binary).json()["id"]
    fhir_site.put("d1", **link(f"{fhir_site.url}/Binary/{name}" if is_absolute else f"Binary/{name}"))
    fhir_site.polling().step()
    (message,) = fhir_site.kept()
    note = note_of(message, ROUTES)
    assert isinstance(note, Note)
    assert (note.text, note.document and note.document.value) == ("See cardiology.", "DocumentReference/d1")


def test_a_binary_may_come_as_its_own_bytes(fhir_site: Site) -> None:
    fhir_site.put("d1", **link("Binary/b"))
    fhir_site.faults(
        {"match": "GET /fhir/Binary/b", "status": 200, "headers": {"Content-Type": "text/plain"}, "body": "See cardiology."}
    )
    fhir_site.polling().step()
    (message,) = fhir_site.kept()
    note = note_of(message, ROUTES)
    assert isinstance(note, Note)
    assert note.text == "See cardiology."


def arrivals_of(fhir_site: Site, polling: Callable[[Callable[[Arrival], bool]], Polling]) -> list[Arrival]:
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
def test_a_link_that_leads_nowhere_is_kept_with_its_reason_and_the_next_document_read(
    fhir_site: Site, url: str, reason: str
) -> None:
    fhir_site.put("d1", **link(url))
    fhir_site.put("d2")
    first, second = arrivals_of(fhir_site, fhir_site.polling)
    assert reason in first.unreadable_because
    assert second.unreadable_because == ""


def test_a_binary_that_its_server_cannot_give_holds_up_the_others_for_three_tries_at_most(fhir_site: Site) -> None:
    fhir_site.put("d1", **link("Binary/broken"))
    fhir_site.put("d2")
    fhir_site.faults({"match": "GET /fhir/Binary/broken", "status": 500, "times": 9})
    found: list[Arrival] = []
    polling = fhir_site.polling(lambda arrival: not found.append(arrival))
    for _ in range(2):
        with pytest.raises(Retry, match="HTTP 500"):
            polling.step()
    assert found == []
    polling.step()
    assert [a.unreadable_because for a in found] == ["its attachment is a link that cannot be followed: HTTP 500, 3 times", ""]


def test_progress_that_is_damaged_begins_anew(fhir_site: Site) -> None:
    (fhir_site.folder / "fhir_source.json").write_text('{"DocumentReference": "soon"')
    fhir_site.put("d1")
    fhir_site.polling().step()
    assert fhir_site.names() == ["d1"]


def test_the_loop_outlives_every_trouble_of_the_server(fhir_site: Site) -> None:
    kept = threading.Event()
    fhir_site.faults(
        {"match": "GET /fhir/DocumentReference", "status": 500}, {"match": "GET /fhir/DocumentReference", "drop": True}
    )
    keep = Keeper(fhir_site.storage, kept.set)
    loop = Loop("fhir_source", fhir_site.polling(keep).step, 0.05)
    fhir_site.put("d1")
    loop.start()
    try:
        assert kept.wait(30)
    finally:
        loop.ask_to_stop()
        loop.join(10)


def test_a_server_that_asks_for_a_log_in_is_read_once_the_token_is_right(fhir_site: Site) -> None:
    fhir_site.put("d1")
    token, admin = fhir_site.folder / "token", f"{fhir_site.url.removesuffix('/fhir')}/admin/token"
    token.write_text("old")
    fhir_site.reader = FhirServer(fhir_site.url, 10, login(FhirAuthConfig(token_file=token), fhir_site.url))
    polling = fhir_site.polling()
    HTTP.post(admin, json={"token": "new"})
    try:
        # Not a refusal for ever: somebody will replace the token.
        with pytest.raises(Retry, match="HTTP 401"):
            polling.step()
        token.write_text("new")
        polling.step()
    finally:
        HTTP.post(admin, json={})
    assert fhir_site.names() == ["d1"]


def test_a_notification_with_the_right_secret_starts_a_search_at_once(fhir_site: Site) -> None:
    secret = fhir_site.folder / "secret"
    secret.write_text("correct horse battery\n")
    config = FhirSourceConfig.model_validate({"url": fhir_site.url, "notification_secret_file": secret})
    kept, idle = threading.Event(), threading.Event()
    polling = fhir_site.polling(Keeper(fhir_site.storage, kept.set))

    def step() -> bool:
        polling.step()
        idle.set()
        return False

    # It would search again in an hour.
    loop = Loop(FHIR_SOURCE, step, 3600)
    notified = notifications(config, [loop])
    assert notified
    with serving(web.create(list, notified=notified)) as endpoint:
        loop.start()
        assert idle.wait(30)
        refused = [
            HTTP.post(endpoint, headers=h).status_code
            for h in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": b"\xe9"})
        ]
        assert refused == [403, 403, 403]
        channel = {"type": "rest-hook", "endpoint": endpoint, "header": ["Authorization: Bearer correct horse battery"]}
        subscription = {
            "resourceType": "Subscription",
            "status": "active",
            "reason": "follow-up",
            "criteria": "DocumentReference",
        }
        name = (
            HTTP.post(f"{fhir_site.url}/Subscription", json=subscription | {"channel": channel}).raise_for_status().json()["id"]
        )
        try:
            fhir_site.put("d1")
            assert kept.wait(30)
            put = HTTP.put(f"{endpoint}/DocumentReference/d1", headers={"Authorization": "Bearer correct horse battery"}, json={})
            assert put.status_code == 200
        finally:
            HTTP.delete(f"{fhir_site.url}/Subscription/{name}")
            loop.ask_to_stop()
            loop.join(10)
    assert fhir_site.names() == ["d1"]


def test_without_a_secret_no_notification_is_taken_and_a_short_one_is_refused(fhir_site: Site) -> None:
    loop = Loop(FHIR_SOURCE, lambda: False, 3600)
    config = FhirSourceConfig.model_validate({"url": fhir_site.url})
    assert notifications(config, [loop]) is None
    with serving(web.create(list)) as endpoint:
        assert HTTP.post(endpoint).status_code == 404
    short = fhir_site.folder / "secret"
    short.write_text("short")
    with pytest.raises(TransportError, match="at least 16 characters"):
        notifications(config.model_copy(update={"notification_secret_file": short}), [loop])
    with pytest.raises(TransportError, match="cannot be read"):
        notifications(config.model_copy(update={"notification_secret_file": short / "none"}), [loop])


@contextlib.contextmanager
def serving(app: Any) -> Iterator[str]:
    """The endpoint for notifications, on a free port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/fhir/notification"
        finally:
            server.should_exit = True
            thread.join()
