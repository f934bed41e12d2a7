"""Bulk Data $export of a real FHIR server, stopped at every step and taken up again."""

import base64
import contextlib
import json
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from appliance.home import Home
from appliance.intake import Keeper
from appliance.storage import Storage
from integrations.transports import arriving
from integrations.transports.arriving import Arrival, Progress
from integrations.transports.bulk_export import BulkExport, Exported
from integrations.transports.fhir_rest import Refused, Retry
from tests.appliance_process import COMMAND, ROOT
from tests.fhir_site import HTTP, Site
from tests.peers.postgres import Postgres

TYPES = ["DocumentReference", "DiagnosticReport"]


class Killed(BaseException):
    """The process ended here."""


def export(
    site: Site, keep: Callable[[Arrival], bool] | None = None, pauses: list[float] | None = None, **wishes: str
) -> Exported:
    progress = Progress(site.folder / "fhir_export.json")
    sleep = pauses.append if pauses is not None else lambda seconds: None
    return BulkExport(site.reader, keep or Keeper(site.storage), progress, sleep=sleep).run(TYPES, **wishes)


def fill(site: Site) -> list[str]:
    names = [f"d{n}" for n in range(5)]
    for name in names:
        site.put(name)
    site.put("r1", kind="DiagnosticReport")
    return [*names, "r1"]


def test_an_export_gives_every_document_once_and_again_nothing_new(fhir_site: Site) -> None:
    names = fill(fhir_site)
    first = export(fhir_site)
    assert (first.n_new, first.n_known, first.n_unreadable) == (6, 0, 0)
    assert fhir_site.names() == names
    again = export(fhir_site)
    assert (again.n_new, again.n_known) == (0, 6)
    assert again.transaction_time > first.transaction_time
    assert export(fhir_site, since=first.transaction_time).n_known == 0


def test_an_export_of_a_group_is_asked_for_at_the_group(fhir_site: Site) -> None:
    names = fill(fhir_site)
    fhir_site.faults({"match": "GET /fhir/$export", "status": 404})
    assert export(fhir_site, group="g1").n_new == len(names)


def test_a_kill_at_any_step_costs_no_document(fhir_site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    names, events, last = fill(fhir_site), 0, 0
    write, inbox = arriving.write_whole, set[str]()

    def tick() -> None:
        nonlocal events
        events += 1
        if events == last:
            raise Killed

    def keep(arrival: Arrival) -> bool:
        tick()
        inbox.add(arrival.control_id.split("/")[1])
        tick()
        return True

    def written(*args: Any) -> None:
        tick()
        write(*args)
        tick()

    monkeypatch.setattr(arriving, "write_whole", written)
    while events >= last:
        events, last = 0, last + 1
        inbox.clear()
        (fhir_site.folder / "fhir_export.json").unlink(missing_ok=True)
        with contextlib.suppress(Killed):
            export(fhir_site, keep)
        if events == last:
            events = 1000  # the second run is not killed
            export(fhir_site, keep)
        assert sorted(inbox) == sorted(names)
    assert last > 20


def test_an_export_goes_on_where_it_was_and_does_not_read_finished_parts_again(fhir_site: Site) -> None:
    names, found = fill(fhir_site), 0

    def stop(arrival: Arrival) -> bool:
        nonlocal found
        found += 1
        if found == 4:
            raise Killed
        return True

    with pytest.raises(Killed):
        export(fhir_site, stop)
    fhir_site.faults({"match": "GET /fhir/$export", "status": 500, "times": 99})  # no second one is begun
    assert export(fhir_site).n_new == len(names) - 2


def test_a_busy_server_is_asked_again_after_the_time_that_it_wishes(fhir_site: Site) -> None:
    names = fill(fhir_site)
    fhir_site.faults(
        {"match": "GET /fhir/$export", "status": 429, "headers": {"Retry-After": "40"}},
        {"match": "GET /fhir/bulk/", "status": 503, "headers": {"Retry-After": "50"}},
        {"match": "GET /fhir/bulk/", "drop": True},
    )
    pauses: list[float] = []
    assert export(fhir_site, pauses=pauses).n_new == len(names)
    assert [p for p in pauses if p >= 40] == [40, 50]


def test_a_server_that_stays_away_is_given_up_and_the_export_goes_on_later(fhir_site: Site) -> None:
    names = fill(fhir_site)
    fhir_site.faults({"match": "GET /fhir/bulk/", "status": 503, "times": 8})
    with pytest.raises(Retry, match="HTTP 503"):
        export(fhir_site)
    assert export(fhir_site).n_new == len(names)


def test_an_export_that_has_ended_at_the_server_is_begun_anew(fhir_site: Site) -> None:
    names = fill(fhir_site)
    fhir_site.faults({"match": "GET /fhir/bulk/", "status": 404})
    with pytest.raises(Refused, match="HTTP 404"):
        export(fhir_site)
    assert export(fhir_site).n_new == len(names)


def test_a_server_without_bulk_data_is_named(fhir_site: Site) -> None:
    fhir_site.faults({"match": "GET /fhir/$export", "status": 200, "body": "{}"})
    with pytest.raises(Refused, match="no export was begun"):
        export(fhir_site)


def test_a_line_that_is_no_resource_is_kept_with_its_reason_and_links_are_followed(fhir_site: Site) -> None:
    fill(fhir_site)
    binary = {"resourceType": "Binary", "contentType": "text/plain", "data": base64.b64encode(b"Walk.").decode()}
    name = HTTP.post(f"{fhir_site.url}/Binary", json=binary).json()["id"]
    linked = {
        "resourceType": "DocumentReference",
        "id": "linked",
        "content": [{"attachment": {"contentType": "text/plain", "url": f"Binary/{name}"}}],
    }
    body = httpx.Response(200, json=linked).text + "\n\nhello\n"
    # The second question for /bulk/ that is for a file.
    fhir_site.faults({"match": "GET /fhir/bulk/e", "status": 202, "times": 0})
    found: list[Arrival] = []

    def keep(arrival: Arrival) -> bool:
        if not found:
            fhir_site.faults({"match": "GET /fhir/bulk/", "status": 200, "body": body})
        found.append(arrival)
        return True

    assert export(fhir_site, keep).n_unreadable == 1
    bad = [a for a in found if a.unreadable_because]
    assert [(a.body, a.unreadable_because) for a in bad] == [(b"hello", "it is no JSON")]
    assert any(b"V2Fsay4=" in a.body for a in found)


def test_the_command_keeps_what_it_fetches_where_the_settings_say(fhir_site: Site, postgres: Postgres, tmp_path: Path) -> None:
    fhir_site.put("d1")
    database = postgres.new_database()
    home = Home(tmp_path / "home")
    home.init()
    home.config.write_text(
        f'[database]\nurl = "{database}"\n[fhir_source]\nurl = "{fhir_site.url}"\nresource_types = ["DocumentReference"]\n'
    )
    command = [*COMMAND, "--home", str(home.root), "--json", "fetch"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["new"] == 1
    with closing(Storage(database)) as storage:
        message = storage.inbox.claim(60)
    assert message is not None
    assert message.control_id.startswith("DocumentReference/d1/")
