"""Where findings go: what each destination is owed for a note, and how it is sent there."""

import json
import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import httpx
import sqlalchemy as sa

from appliance.config import AppConfig
from appliance.database import INBOX
from appliance.storage import Storage
from appliance.versions import Change
from appliance.worker import Owed
from integrations.codecs import er7, fhir, fhir_withdrawal, hl7v2_out
from integrations.codecs.er7 import Message
from integrations.codecs.fhir_references import at_server
from integrations.codecs.fhir_summary import summary, withdrawn
from integrations.codecs.hl7v2_out import Parties
from integrations.mailbox import Format
from integrations.records import ModelVersion, Note
from integrations.transports import Retry, fhir_delivery, fhir_rest
from integrations.transports.fhir_capability import Form, ask, choose
from integrations.transports.fhir_rest import FhirConfig
from integrations.transports.mllp_client import Hl7OutConfig, MllpClient, deliver
from integrations.transports.smart_backend import login

logger = logging.getLogger(__name__)

LOOK_AGAIN_S = 3600.0
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

    def close(self) -> None:
        """Hang up, once nothing is sent any more."""
        ...


class FhirDestination:
    """A FHIR server, told by transactions, or by summaries where it takes nothing else."""

    name = FHIR

    def __init__(self, config: FhirConfig, auth: httpx.Auth | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing is sent yet; `config` names a server, `auth` logs in."""
        self._config, self._clock = config, clock
        self._server = fhir_rest.client(config.timeout_s, auth)
        self.lease_s = 4 * config.timeout_s + 60
        # Until the server has been asked, what most take.
        self.form, self.why = choose(config.output, None)
        self._asked_at_s: float | None = None

    def look(self) -> bool:
        """Ask the server what it takes, every hour once it has said so; False, for there is nothing more to do."""
        if self._config.output == "auto" and (self._asked_at_s is None or self._clock() - self._asked_at_s >= LOOK_AGAIN_S):
            try:
                form, why = choose("auto", ask(self._config))
            except Retry:
                # The deliveries tell that it is away; what it said last still holds.
                return False
            if (form, why) != (self.form, self.why):
                logger.info("the FHIR server is told by %s: %s", form, why)
            self.form, self.why, self._asked_at_s = form, why, self._clock()
        return False

    def owed(self, note: Note, change: Change, model: ModelVersion | None) -> list[bytes]:
        """What is withdrawn first: better a proposal missing than a wrong one. Then what is new."""
        bundles = fhir.transactions(note, change.added, model) if model else []
        if self.form is Form.SUMMARY:
            over = [withdrawn(note, change.withdrawn)] if change.withdrawn else []
            told = [summary([*bundles, *over])] if bundles or over else []
        else:
            # One for each: two requests that the lease is long enough for, however many findings there were.
            told = [*(fhir_withdrawal.order(note, [finding]) for finding in change.withdrawn), *bundles]
        return [json.dumps(at_server(body, str(self._config.url)), ensure_ascii=False).encode() for body in told]

    def send(self, body: bytes) -> None:
        """Post one of them, or carry out one withdrawal."""
        fhir_delivery.deliver(self._config, body, self._server)

    def close(self) -> None:
        """Hang up."""
        self._server.close()


class Hl7Destination:
    """A system that is told by HL7 v2 messages over MLLP."""

    def __init__(self, name: str, config: Hl7OutConfig, received: Callable[[Note], Message | None]) -> None:
        """Nothing is sent yet.

        Args:
            name: in the outbox.
            config: where it is and what it takes.
            received: the message that a note came in, where it was HL7 v2.
        Raises:
            TransportError: its certificates cannot be used.
        """
        self.name = name
        self._build = hl7v2_out.results if config.message == "ORU" else hl7v2_out.document
        self._parties = Parties(config.sending_facility, config.receiving_application, config.receiving_facility)
        self._received = received
        self._client = MllpClient(config.host, config.port, config.timeout_s, config.context())
        # Name look-up, connection, TLS and answer each have their time.
        self.lease_s = 4 * config.timeout_s + 60

    def owed(self, note: Note, change: Change, model: ModelVersion | None) -> list[bytes]:
        """One message, which tells what holds no longer, too."""
        if not change.added and not change.withdrawn:
            return []
        return [self._build(note, change.added, model, self._received(note), self._parties, change.withdrawn)]

    def send(self, body: bytes) -> None:
        """Send one message, until the system has said that it has it."""
        deliver(self._client, body)

    def close(self) -> None:
        """Hang up."""
        self._client.close()


def destinations(config: AppConfig, storage: Storage) -> list[Destination]:
    """Those that `config` names.

    Raises:
        TransportError: certificates of one, or the key to log in with, cannot be used.
    """
    told: list[Destination] = [FhirDestination(config.fhir, _login(config))] if config.fhir.url else []
    return told + [Hl7Destination(name, c, partial(received, storage)) for name, c in config.hl7_out.items()]


def _login(config: AppConfig) -> httpx.Auth | None:
    return login(config.fhir_auth, str(config.fhir.url), config.fhir.timeout_s)


def names(config: AppConfig) -> list[str]:
    """Of the destinations that `config` names."""
    return [*([FHIR] if config.fhir.url else []), *config.hl7_out]


def received(storage: Storage, note: Note) -> Message | None:
    """The message of the inbox that a note came in; None where it was not HL7 v2."""
    if note.source is None:
        return None
    is_source = sa.and_(
        INBOX.c.source == note.source.sender,
        INBOX.c.control_id == note.source.control_id,
        INBOX.c.sha256 == note.source.sha256,
        INBOX.c.format == Format.HL7V2,
    )
    with storage.database.read() as connection:
        body = connection.execute(sa.select(INBOX.c.body).where(is_source)).scalar()
    return None if body is None else er7.read(body)


def owed_to(those: Sequence[Destination]) -> Owed:
    """What all of `those` are owed for a note."""

    def owed(note: Note, change: Change, model: ModelVersion | None) -> list[tuple[str, bytes]]:
        return [(d.name, body) for d in those for body in d.owed(note, change, model)]

    return owed
