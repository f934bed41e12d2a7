"""A hospital's FHIR server and an inbox that reads from it."""

import base64
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from appliance.intake import Keeper
from appliance.storage import Storage
from integrations.mailbox import InboxMessage
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
def fhir_site(fhir_server: str, tmp_path: Path) -> Iterator[Site]:
    opened = Site(fhir_server, tmp_path)
    # Documents of the test before lie in the same second, which a search by whole seconds finds again.
    for kind in ("DocumentReference", "DiagnosticReport"):
        for entry in HTTP.get(f"{fhir_server}/{kind}?_count=1000").json().get("entry", []):
            HTTP.delete(f"{fhir_server}/{kind}/{entry['resource']['id']}")
    yield opened
    opened.faults()
    opened.reader.close()
    opened.storage.close()
