"""Where findings go: what each destination is owed for a note, and how it is sent there."""

import json
from collections.abc import Callable, Sequence
from typing import Protocol

from appliance.config import AppConfig
from integrations.codecs import fhir
from integrations.records import Finding, ModelVersion, Note
from integrations.transports import fhir_rest
from integrations.transports.fhir_rest import FhirConfig

FHIR = "fhir"
"""The destination that is a FHIR server."""

Owed = Callable[[Note, Sequence[Finding], ModelVersion], list[tuple[str, bytes]]]
"""`owed(note, findings, model)`: destination and body of each delivery."""


class Destination(Protocol):
    """A system of the hospital that is told findings. `owed` may be called from any thread, `send` from one."""

    name: str
    """In the outbox, logs and metrics."""
    lease_s: float
    """Longer than `send` ever takes."""

    def owed(self, note: Note, findings: Sequence[Finding], model: ModelVersion) -> list[bytes]:
        """The bodies that tell it what was found in `note`; none without findings."""
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

    def owed(self, note: Note, findings: Sequence[Finding], model: ModelVersion) -> list[bytes]:
        """One transaction for every few findings."""
        return [json.dumps(bundle, ensure_ascii=False).encode() for bundle in fhir.transactions(note, findings, model)]

    def send(self, body: bytes) -> object:
        """Post one transaction."""
        return fhir_rest.post(self._config, body, self._server)


def destinations(config: AppConfig) -> list[Destination]:
    """Those that `config` names."""
    return [FhirDestination(config.fhir)] if config.fhir.url else []


def names(config: AppConfig) -> list[str]:
    """Of the destinations that `config` names."""
    return [FHIR] if config.fhir.url else []


def owed_to(those: Sequence[Destination]) -> Owed:
    """What all of `those` are owed for a note."""

    def owed(note: Note, findings: Sequence[Finding], model: ModelVersion) -> list[tuple[str, bytes]]:
        return [(d.name, body) for d in those for body in d.owed(note, findings, model)]

    return owed
