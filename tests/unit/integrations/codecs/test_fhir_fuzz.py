"""Resources broken in every way: the codec gives a note, no text or a CodecError, and soon.

CLINAPPLIANCE_FUZZ says how many; one that fails is told by its seed.
"""

import base64
import copy
import json
import os
import random
import time
from collections.abc import Callable
from typing import Any

import pytest

from integrations.codecs import CodecError
from integrations.codecs.fhir_documents import note
from integrations.codecs.fhir_messages import split

CASES = int(os.environ.get("CLINAPPLIANCE_FUZZ", "20000"))
LONGEST_S = 1.0
BASE = "https://ehr.example/fhir"
VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 1e300, 10**400, "", " ", "x", "#o", "urn:uuid:1", "Patient/1", "\0", "\ud800", [], {}, [None], [[]],
    {"a": {}}, "2026-02-30", "2026-11-01T25:00:00Z", "9" * 5000, "<div><script>" * 50, "{\\rtf1\\u-99999999999 \\'", "Binary/b1",
    {"reference": 7}, {"coding": [{"code": 7}]}, {"coding": "x"},
    [{"code": "replaces", "target": {"reference": "#d"}}], {"lastUpdated": "x"},
)  # fmt: skip


def data(text: bytes, kind: str = "text/plain") -> dict[str, Any]:
    return {"contentType": kind, "data": base64.b64encode(text).decode()}


def seeds() -> list[dict[str, Any]]:
    order = {"resourceType": "ServiceRequest", "id": "o", "status": "active", "intent": "order",
             "reasonCode": [{"text": "Fever"}], "subject": {"reference": "Patient/p"}}  # fmt: skip
    document = {
        "resourceType": "DocumentReference", "id": "d", "status": "current", "docStatus": "final", "meta": {"versionId": "1"},
        "type": {"coding": [{"system": "http://loinc.org", "code": "18842-5"}]}, "date": "2026-11-01T08:30:00Z",
        "subject": {"reference": "Patient/p"},
        "context": {"encounter": [{"reference": "Encounter/e"}], "related": [{"reference": "#o"}]},
        "content": [{"attachment": data(b"<html><p>x</p>", "text/html")}, {"attachment": {"url": "Binary/b1"}}],
        "relatesTo": [{"code": "appends", "target": {"reference": "DocumentReference/c"}}], "contained": [order],
    }  # fmt: skip
    report = {
        "resourceType": "DiagnosticReport", "id": "r", "status": "final", "code": {"coding": [{"code": "RAD"}]},
        "subject": {"identifier": {"system": "urn:h", "value": "1"}}, "conclusion": "x", "basedOn": [{"reference": "#o"}],
        "contained": [order], "presentedForm": [data(rb"{\rtf1 a\par b}", "text/rtf")], "issued": "2026-11-01T08:30:00Z",
    }  # fmt: skip
    div = {"status": "generated", "div": '<div xmlns="http://www.w3.org/1999/xhtml">a<br/>b</div>'}
    composition = {
        "resourceType": "Composition", "id": "c", "status": "final", "type": {"text": "x"}, "date": "2026", "title": "t",
        "author": [{"display": "a"}], "subject": {"reference": "urn:uuid:p"},
        "section": [{"title": "s", "text": div, "section": [{"text": div}]}],
    }  # fmt: skip
    patient = {"resourceType": "Patient", "identifier": [{"type": {"coding": [{"code": "MR"}]}, "value": "1"}]}

    def bundle(kind: str, *resources: tuple[str, dict[str, Any]]) -> dict[str, Any]:
        return {"resourceType": "Bundle", "type": kind, "identifier": {"system": "s", "value": "v"},
                "timestamp": "2026-11-01T00:00:00Z",
                "entry": [{"fullUrl": url, "resource": resource} for url, resource in resources]}  # fmt: skip

    binary = {"resourceType": "Binary", **data(b"text")}
    kept = bundle("collection", (f"{BASE}/DocumentReference/d", document), (f"{BASE}/Binary/b1", binary))
    whole = bundle("document", ("urn:uuid:c", composition), ("urn:uuid:p", patient))
    return [document, report, kept, whole]


def elements(root: Any) -> list[tuple[Any, Any]]:
    """Every place of a resource: what holds it, and its key or index."""
    found, waiting = [], [root]
    while waiting:
        holder = waiting.pop()
        for key in list(holder) if isinstance(holder, dict) else range(len(holder)):
            found.append((holder, key))
            if isinstance(holder[key], dict | list):
                waiting.append(holder[key])
    return found


def replaced(chance: random.Random, holder: Any, key: Any) -> None:
    holder[key] = copy.deepcopy(chance.choice(VALUES))


def removed(chance: random.Random, holder: Any, key: Any) -> None:
    del holder[key]


def repeated(chance: random.Random, holder: Any, key: Any) -> None:
    holder[key] = [copy.deepcopy(holder[key]) for _ in range(chance.choice((1, 2, 40)))]


def nested(chance: random.Random, holder: Any, key: Any) -> None:
    for _ in range(chance.choice((1, 5, 70))):
        holder[key] = chance.choice(([holder[key]], {"extension": [holder[key]]}))


def cut_text(chance: random.Random, holder: Any, key: Any) -> None:
    if isinstance(holder[key], str):
        at = chance.randrange(len(holder[key]) + 1)
        holder[key] = holder[key][:at] + chance.choice(("", "=", "\n", "é", "/", "\x1f", "9" * 200)) + holder[key][at + 1 :]


def moved(chance: random.Random, holder: Any, key: Any) -> None:
    if isinstance(holder, dict):
        holder[chance.choice(("status", "_status", "contained", "extension", "url", "reference", "id", "Jane"))] = holder.pop(key)


CHANGES: tuple[Callable[[random.Random, Any, Any], None], ...] = (
    replaced,
    replaced,
    removed,
    repeated,
    nested,
    cut_text,
    cut_text,
    moved,
)


def broken(seed: int, whole: list[dict[str, Any]]) -> bytes:
    chance = random.Random(seed)
    resource = copy.deepcopy(chance.choice(whole))
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        if places := elements(resource):
            chance.choice(CHANGES)(chance, *chance.choice(places))
    body = bytearray(json.dumps(resource, ensure_ascii=chance.random() < 0.5).encode(errors="surrogatepass"))
    for _ in range(chance.choice((0, 0, 0, 0, 1, 3))):
        at = chance.randrange(len(body) + 1)
        body[at : at + chance.choice((0, 1, 1, 30))] = chance.choice(
            (b"", b"\xff", b'"', b"{", b"[", b"1e999", b"\\ud800", b"\0")
        )
    return bytes(body)


@pytest.mark.usefixtures("own_garbage")
def test_whatever_is_wrong_with_a_resource_the_codec_says_so_within_a_second() -> None:
    whole, told = seeds(), set[str]()
    for body in (json.dumps(resource).encode() for resource in whole):
        note(body, BASE, "seed")
    for seed in range(CASES):
        body, began = broken(seed, whole), time.thread_time()
        for read in (split, lambda b: note(b, BASE, "x")):
            try:
                read(body)
            except CodecError as error:
                told.add(str(error))
            except Exception as error:
                raise AssertionError(f"{seed=}") from error
        assert time.thread_time() - began < LONGEST_S, f"{seed=}"
    assert not [reason for reason in told if "Jane" in reason]
