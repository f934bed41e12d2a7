"""Whatever fails, and however much is logged, no log, metric, answer or error names a patient or quotes a note.

300 made-up patients and 30 forced faults at least; `CLINAPPLIANCE_PATIENTS=10000` takes that many, and 500 faults.
"""

import io
import logging
import os
import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client import REGISTRY, generate_latest

from appliance import logs, metrics
from appliance.delivery import Delivery
from appliance.loop import Loop
from appliance.reading import Reading, findings
from appliance.receiving import Receiver
from appliance.storage import Storage
from appliance.versions import Change
from appliance.worker import Worker
from integrations.codecs import hl7v2
from integrations.records import ModelVersion, Note, NoteKind
from integrations.transports import Refused, Retry
from pretrain.tasks.base import TaggedSpan
from tests.appliance_process import eventually

PATIENTS = int(os.environ.get("CLINAPPLIANCE_PATIENTS", "300"))
WANTED = min(PATIENTS // 10, 500)
"""Faults that must have been met, of readers and destinations."""
MODEL = ModelVersion("tiny", "1", "")


def identifiers(number: int) -> list[str]:
    """That occur nowhere else: record number, names, birth date, telephone, address, account, and a word of the note."""
    return [
        f"MRN{number:06d}Q", f"ZELDA{number:05d}", f"QUIMBY{number:05d}", f"19{number:06d}", f"555-{number:07d}",
        f"{number} Nowhere Lane", f"ACC{number:06d}Q", f"nodule-{number:05d}-mm",
    ]  # fmt: skip


def message(number: int) -> bytes:
    mrn, given, family, born, phone, street, account, word = identifiers(number)
    segments = [
        rf"MSH|^~\&|EHR|GENHOSP|AI|GENHOSP|20261101083000-0500||MDM^T02^MDM_T02|C{number}|P|2.5.1||||||UNICODE UTF-8",
        f"PID|1||{mrn}^^^GENHOSP^MR||{family}^{given}||{born}|F|||{street}||{phone}|||||{account}",
        f"TXA|1|DS|TX|20261101||||||||D{number}^EHR|||||AU||AV",
        f"OBX|1|TX|18842-5^Discharge summary^LN|1|{given} {family} ({mrn}, {phone}): {word}. Repeat the CT in 6 months.||||||F",
    ]
    return "\r".join([*segments, ""]).encode()


class Faults:
    """Half of all calls fail, in the words of somebody who did not think: with all that they were given."""

    def __init__(self) -> None:
        self.chance, self.n = random.Random(0), 0

    def or_not(self, kinds: list[Callable[[str], Exception]], given: object) -> None:
        if self.chance.random() < 0.5 and self.n < PATIENTS // 2:
            self.n += 1
            raise self.chance.choice(kinds)(f"cannot work on {given!r}")


class Reader:
    """Finds the last sentence."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults

    def read(self, note: Note) -> Reading:
        self._faults.or_not([RuntimeError, ValueError, KeyError, UnicodeError, MemoryError], note)
        start = note.text.index("Repeat")
        span = TaggedSpan(start, len(note.text.rstrip()), "Imaging", 0.9)
        return Reading(findings(note, [span], str(MODEL), datetime(2026, 1, 1, tzinfo=UTC)), MODEL)


def broken(number: int, chance: random.Random) -> bytes:
    """A message that nobody can read, or hardly."""
    whole = bytearray(message(number))
    match chance.randrange(4):
        case 0:
            return bytes(whole[: chance.randrange(len(whole))])
        case 1:
            return bytes(whole).replace(b"MSH|", b"MSH", 1)
        case 2:
            return bytes(whole).replace(b"|TX|18842-5", b"|ED|18842-5", 1)
    at = chance.randrange(len(whole))
    whole[at : at + 3] = b"\xff\x00|"
    return bytes(whole)


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """All that is logged, by whomever, at the lowest level."""
    root, stream = logging.getLogger(), io.StringIO()
    before, level = root.handlers[:], root.level
    logs.configure(stream, logging.DEBUG)
    yield stream
    root.handlers[:] = before
    root.setLevel(level)


def test_no_patient_is_named_in_what_leaves_the_database(
    logged: io.StringIO, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults, chance, shown = Faults(), random.Random(1), []
    read = hl7v2.read

    def read_or_not(body: bytes) -> object:
        if chance.random() < 0.02:
            raise RuntimeError(f"cannot parse {body!r}")
        return read(body)

    monkeypatch.setattr(hl7v2, "read", read_or_not)
    with closing(Storage(tmp_path / "appliance.db")) as storage:
        receiver, reader = Receiver(storage, hl7v2.ROUTES), Reader(faults)

        def owed(note: Note, change: Change, model: ModelVersion | None) -> list[tuple[str, bytes]]:
            return [("ehr", repr(change).encode())]

        def deliver(body: bytes) -> None:
            faults.or_not([Retry, Refused, RuntimeError, ConnectionError, TimeoutError], body)

        worker = Worker(storage, lambda: {"clip": reader}, hl7v2.ROUTES, {NoteKind.DISCHARGE_SUMMARY: "clip"}, 300, owed)
        delivery = Delivery(storage, "ehr", deliver, 120)
        loops = [Loop("worker", worker.step, 0.001), Loop("delivery", delivery.step, 0.001)]
        for loop in loops:
            loop.start()
        for number in range(PATIENTS):
            shown.append(receiver("10.0.0.7:4711", message(number)))
            if number % 5 == 0:
                shown.append(receiver("10.0.0.7:4711", broken(number, chance)))
        eventually(lambda: faults.n >= WANTED, 120)
        for loop in loops:
            loop.ask_to_stop()
            loop.join(60)
        with sqlite3.connect(storage.database.backend.name) as database, pytest.raises(sqlite3.OperationalError):
            database.execute("no SQL")
        registry_text = generate_latest(REGISTRY)
        families = metrics.ApplianceCollector(storage, tmp_path, list, {}).collect()
        shown += [registry_text, repr([sample for family in families for sample in family.samples]).encode()]
    everything = logged.getvalue() + b"\n".join(shown).decode(errors="replace")
    assert faults.n >= WANTED
    assert len(logged.getvalue().splitlines()) > PATIENTS // 10
    named = [word for number in range(PATIENTS) for word in identifiers(number) if word in everything]
    assert named == [], (len(named), named[:5], next(line for line in everything.splitlines() if named[0] in line)[:600])
