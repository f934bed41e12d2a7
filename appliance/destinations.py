"""Where findings go: what each destination is owed for a note, and how it is sent there."""

import json
from collections.abc import Sequence
from typing import Protocol

from appliance.config import AppConfig
from appliance.versions import Change
from appliance.worker import Owed
from integrations.codecs import fhir, fhir_withdrawal
from integrations.records import ModelVersion, Note
from integrations.transports import fhir_delivery, fhir_rest
from integrations.transports.fhir_rest import FhirConfig

FHIR = "fhir"
"""The destination that is a FHIR server."""


class Destination(Protocol):
    """A system of the hospital that is told findings. `owed` may be called from any thread, `send` from one."""

    name: str
    """In the outbox, logs and metrics."""
    lease_s: float
    """Longer than `send` ever takes."""

    def owed(self, note: Note, change: Change, model: ModelVersion | None) -> list[bytes]:
        """The bodies that tell it what `note`, read by `model`, changes; none where it changes nothing."""
        ...

    def send(self, body: bytes) -> object:
        """Send one of them; raises Retry or Refused."""
        ...


class FhirDestination:
    """A FHIR server, told by transactions."""

    name = FHIR

    def __init__(self, config: FhirConfig) -> None:
        """Nothing is sent yet; `config` names a server."""
        self._config = config
        self._server = fhir_rest.client(config.timeout_s)
        self.lease_s = 4 * config.timeout_s + 60

    def owed(self, note: Note, change: Change, model: ModelVersion | None) -> list[bytes]:
        """What is withdrawn first: better a proposal missing than a wrong one. Then a transaction for every few findings."""
        withdrawal = [fhir_withdrawal.order(note, change.withdrawn)] if change.withdrawn else []
        bundles = fhir.transactions(note, change.added, model) if model else []
        return [json.dumps(body, ensure_ascii=False).encode() for body in (*withdrawal, *bundles)]

    def send(self, body: bytes) -> None:
        """Post one transaction, or carry out one withdrawal."""
        fhir_delivery.deliver(self._config, body, self._server)


def destinations(config: AppConfig) -> list[Destination]:
    """Those that `config` names."""
    return [FhirDestination(config.fhir)] if config.fhir.url else []


def names(config: AppConfig) -> list[str]:
    """Of the destinations that `config` names."""
    return [FHIR] if config.fhir.url else []


def owed_to(those: Sequence[Destination]) -> Owed:
    """What all of `those` are owed for a note."""

    def owed(note: Note, change: Change, model: ModelVersion | None) -> list[tuple[str, bytes]]:
        return [(d.name, body) for d in those for body in d.owed(note, change, model)]

    return owed
