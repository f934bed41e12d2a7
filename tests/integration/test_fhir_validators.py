"""What goes out, from random notes, is refused by none of three validators, and changes nothing when it is sent again.

`CLINAPPLIANCE_FHIR_RESOURCES=10000` makes as many resources as a release is checked with.
"""

import json
import os
import random
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from integrations.codecs import fhir
from integrations.records import Finding, Identifier, ModelVersion, Note, NoteKind, Source
from integrations.transports.fhir_rest import FhirConfig, post
from pretrain.tasks import clip
from tests.peers.fhir_server import FOLDER, running_fhir_server, why_not

RESOURCES = int(os.environ.get("CLINAPPLIANCE_FHIR_RESOURCES", "1000"))
WORDS = re.split(
    " +",
    "See cardiology in 2 weeks. INR 2,3 < 4 & > 1 | ^ ~ \\ \"quoted\" 'it' é ß µg 37 °C Ångström naïve — … “so” 北京 漢字 Ωμέγα "
    "прием לבדוק مراجعة 🩺 👩🏽‍⚕️ e\u0301 \u00a0 \u2028 \u200f \x0c \x00 \x1f \t \r\n {json} </b> %41 urn:x $&+,/:;=?@ #",
)
KINDS = (NoteKind.DISCHARGE_SUMMARY, NoteKind.RADIOLOGY_REPORT)


def text(rng: random.Random, most_words: int) -> str:
    """Never white space alone, which nobody tags and nobody asks."""
    return " ".join(["x", *rng.choices(WORDS, k=rng.randint(0, most_words)), "y"])


def identifier(rng: random.Random) -> Identifier | None:
    systems = ("", "HOSP", "urn:oid:2.16.840.1.113883.3.999", "https://hospital.example/mrn", "ward 7 & 8", "HOSP:A")
    return rng.choice((None, Identifier(text(rng, 2), rng.choice(systems))))


def finding(rng: random.Random, note: Note, model: ModelVersion, number: int) -> Finding:
    """A label, an answer or none, as sure as chance will have it."""
    at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(microseconds=rng.randrange(10**15))
    is_answer, is_unanswered = rng.random() < 0.6, rng.random() < 0.3
    start = rng.randrange(len(note.text))
    end = rng.randint(start + 1, len(note.text))
    if is_answer and is_unanswered:
        start = end = 0
    elif not note.text[start:end].translate(fhir.WITHOUT_CONTROLS).strip():
        start, end = 0, 1
    return Finding(
        f"{note.note_id}-{number}", note.note_id, start, end, note.text[start:end], "" if is_answer else rng.choice(clip.LABELS),
        rng.choice((0.0, 1.0, rng.random(), 5e-324)), str(model), at, text(rng, 8) if is_answer else "", rng.random() < 0.3,
    )  # fmt: skip


def transactions(rng: random.Random) -> Iterator[dict[str, Any]]:
    """Of one note after the other, without end."""
    for number in range(10**9):
        model = ModelVersion(f"m-{rng.randrange(5)}", str(rng.randrange(1, 9)), f"{rng.randrange(16**4):064x}")
        source = rng.choice((None, Source(text(rng, 2), "1", "cd" * 32)))
        zone = rng.choice((UTC, datetime.now().astimezone().tzinfo))
        written_at = rng.choice((None, datetime(rng.randint(1, 9990), 2, 28, 23, 59, tzinfo=zone)))
        note = Note(
            f"note-{number}", rng.choice(KINDS), text(rng, 60), identifier(rng), identifier(rng), identifier(rng),
            written_at=written_at, source=source,
        )  # fmt: skip
        yield from fhir.transactions(note, [finding(rng, note, model, n) for n in range(rng.randint(1, 9))], model)


@pytest.fixture(scope="module")
def produced() -> list[dict[str, Any]]:
    """Transactions of `RESOURCES` resources, each of which fhir.resources has taken: a Bundle is checked when it is made."""
    made, n = [], 0
    for bundle in transactions(random.Random(7)):
        made.append(bundle)
        n += len(bundle["entry"])
        if n >= RESOURCES:
            return made
    raise AssertionError


def refusals(resources: list[dict[str, Any]]) -> Counter[str]:
    """What @medplum/core and npm's `fhir` say against them."""
    if reason := why_not():
        pytest.skip(reason)
    lines = "".join(json.dumps(resource) + "\n" for resource in resources)
    done = subprocess.run(["node", "validate.mjs"], cwd=FOLDER, input=lines, capture_output=True, text=True, check=True)
    verdicts = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(verdicts) == len(resources)
    return Counter(reason for verdict in verdicts for reason in verdict)


def test_no_validator_refuses_what_random_notes_become(produced):
    resources = [entry["resource"] for bundle in produced for entry in bundle["entry"]]
    assert len(resources) >= RESOURCES
    assert {r["resourceType"] for r in resources} == {"Device", "Task", "Observation", "Provenance"}
    assert refusals([*resources, *produced]) == Counter()


@pytest.mark.parametrize(
    ("damage", "by"),
    [
        (lambda o: o.update(status="bogus"), "fhir: Observation.status"),
        (lambda o: o.update(dataAbsentReason={"text": "x"}), "medplum: Constraint obs-6"),
        (lambda o: o.update(secret="x"), "medplum: Invalid additional property"),
        (lambda o: o.pop("code"), "fhir: Observation.code"),
    ],
)
def test_the_validators_do_refuse_what_is_wrong(produced, damage, by):
    entries = (entry["resource"] for bundle in produced for entry in bundle["entry"])
    observation = dict(next(r for r in entries if "valueString" in r))
    damage(observation)
    assert any(reason.startswith(by) for reason in refusals([observation]))


@pytest.mark.timeout(3600)
def test_all_of_it_sent_again_changes_nothing_on_the_server(produced):
    """By turns at servers of their own: this one looks through all that it has for each resource that it is sent."""
    if reason := why_not():
        pytest.skip(reason)
    some = produced if RESOURCES > 1000 else produced[:20]
    for begin in range(0, len(some), 30):
        with running_fhir_server() as url:
            config = FhirConfig.model_validate({"url": url, "timeout_s": 60})
            first, again = ([post(config, bundle) for bundle in some[begin : begin + 30]] for _ in range(2))
        assert {status for statuses in first for status in statuses} <= {"200", "201"}
        assert {status for statuses in again for status in statuses} == {"200"}
        assert [len(statuses) for statuses in again] == [len(statuses) for statuses in first]
