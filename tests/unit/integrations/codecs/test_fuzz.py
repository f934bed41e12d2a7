"""Seeded damage to frames, messages and attachments: nothing but a CodecError comes of it, in time and in bounds.

20,000 cases; as many as `CLINAPPLIANCE_FUZZ` says where it is set (a million take about an hour).
"""

import base64
import os
import random
import time
from collections.abc import Callable

import pytest

from integrations.codecs import CodecError, attachments, hl7v2, pdf
from integrations.codecs.batch import split
from integrations.records import Note
from integrations.transports import mllp
from integrations.transports.mllp import Framer, TooLongError
from tests.pdf_file import pdf as pdf_of

CASES = int(os.environ.get("CLINAPPLIANCE_FUZZ", "20000"))
LONGEST_S = 1.0
LIMIT_BYTES = 20_000

HEAD = rb"MSH|^~\&|EHR|GENHOSP|AI|GENHOSP|20261101083000-0500||%s|M-1|P|2.5.1|||AL|NE||UNICODE UTF-8"
PATIENT = b"PID|1||MRN88^^^GENHOSP&1.2.3&ISO^MR||DOE^JANE"
TXA = b"TXA|1|DS^Discharge^L^18842-5^Discharge^LN|TX|20261101080000||20261101081500||||||DOC1^EHR|DOC0^EHR||||AU||AV"
OBR = b"OBR|1|PL1^EHR|FL1^RIS|71260^CT CHEST^C4|||20261101070000||||||cough|||||||||20261101082500||RAD|F||||||R05^Cough^I10"
NARRATIVE = rb"OBX|1|FT|18748-4^Report^LN|1|FINDINGS: 3 \T\ 4 mm\.br\ nodule \X41\ \.sp2\ caf\XC3A9\||||||F"
FILES = (
    (b"application^pdf", pdf_of([["See cardiology in 2 weeks."], ["INR on Friday."]], image=b"logo")),
    (b"text^rtf", rb"{\rtf1\ansi\ansicpg1252 See {\b cardiology}\par in 2 weeks \u8364? \'e9.}"),
    (b"text^html", b"<html><body><table><tr><td>See cardiology<td>&#233; &lt;</table><!-- x --><script>1</script></body></html>"),
    (b"TEXT^", "See cardiology – in 2 weeks.".encode()),
)


def message(kind: bytes, *segments: bytes) -> bytes:
    return b"\r".join([HEAD % kind, PATIENT, *segments, b""])


def ed(kind: bytes, content: bytes) -> bytes:
    return b"OBX|2|ED|1||^%s^Base64^%s||||||F" % (kind, base64.b64encode(content))


ORU = message(b"ORU^R01^ORU_R01", OBR, NARRATIVE, b"OBX|2|NM|8867-4^rate^LN||72|/min|||||F")
MDM = message(b"MDM^T02^MDM_T02", TXA, NARRATIVE)
BATCH = b"FHS|^~\\&|RIS\rBHS|^~\\&|RIS\r" + ORU + MDM + b"BTS|2\rFTS|1\r"
BODIES = (ORU, MDM, BATCH, *(message(b"MDM^T10", TXA, NARRATIVE, ed(*file)) for file in FILES))
TOKENS = (
    *rb"| ^ ~ \ & \F\ \.br\ \.sp99\ \XFFFE\ \.in-9\ || ^^^^ OBX| MSH| OBR| TXA| PID| BHS| BTS| DSC| 8859/1 Base64 W X".split(),
    *rb"<!-- <script> {\rtf &#x110000; stream endobj 9999999999 -1 << >> %%EOF".split(),
    *(b"\r", b"\n", b"\r\n", b"\x0b", b"\x1c\r", b"\x00", b"\xff", b"\xc3", b"\\u-9999 ", b"/Kids[1 0 R]"),
)


def damaged(rng: random.Random, content: bytes, others: tuple[bytes, ...]) -> bytes:
    """One to eight changes: bits, cuts, repetitions, tokens, and pieces of something else."""
    found = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        at = rng.randrange(len(found) + 1)
        until = min(len(found), at + rng.choice((1, 1, 4, 40, 400)))
        match rng.randrange(6):
            case 0 if at < len(found):
                found[at] ^= 1 << rng.randrange(8)
            case 1:
                del found[at:until]
            case 2:
                found[at:at] = found[at:until] * rng.choice((1, 2, 50))
            case 3:
                found[at:at] = rng.choice(TOKENS) * rng.choice((1, 1, 2, 200))
            case 4:
                other = rng.choice(others)
                begin = rng.randrange(len(other))
                found[at:until] = other[begin : begin + rng.choice((3, 30, 300))]
            case _:
                found[at:until] = rng.randbytes(until - at)
    return bytes(found)


def read_frames(rng: random.Random, data: bytes) -> None:
    framer, position, n_bytes = Framer(LIMIT_BYTES), 0, 0
    try:
        while position < len(data):
            size = rng.choice((1, 7, 100, 5000))
            n_bytes += sum(len(body) for body in framer.feed(data[position : position + size]))
            position += size
    except TooLongError:
        pass
    assert n_bytes <= len(data)


def read_message(body: bytes) -> None:
    parts = split(body)
    assert sum(map(len, parts)) <= len(body)
    for part in parts:
        answer = hl7v2.ack(part, "AR", "a reason")
        assert len(answer) <= 2 * len(part) + 1000
        hl7v2.acknowledged(part)
        hl7v2.envelope(part)
        try:
            read = hl7v2.read(part)
            assert read.serialise() == part
            hl7v2.check(read)
            found = hl7v2.note(read)
        except CodecError:
            continue
        if isinstance(found, Note):
            assert len(found.text) <= pdf.MOST_CHARACTERS + 100 * len(part)
            assert len(found.unread) <= 100 * (len(part) + 10)


def read_file(kind: bytes, content: bytes) -> None:
    try:
        found = attachments.text(content, kind.decode().replace("^", "/").lower())
    except CodecError:
        return
    assert len(found) <= pdf.MOST_CHARACTERS + 100 * len(content)


def case(rng: random.Random) -> Callable[[], None]:
    """One thing to try, and what it is tried on."""
    kind = rng.random()
    if kind < 0.2:
        frames = b"".join(mllp.frame(rng.choice(BODIES)) for _ in range(rng.randrange(1, 4)))
        data = damaged(rng, frames, BODIES)
        return lambda: read_frames(rng, data)
    if kind < 0.8:
        body = damaged(rng, rng.choice(BODIES), BODIES)
        return lambda: read_message(body)
    name, content = rng.choice(FILES)
    content = damaged(rng, content, tuple(file for _, file in FILES))
    if kind < 0.9:
        return lambda: read_file(name, content)
    return lambda: read_message(message(b"MDM^T02", TXA, NARRATIVE, ed(name, content)))


@pytest.mark.timeout(max(300, CASES // 50))
@pytest.mark.usefixtures("own_garbage")
def test_no_damage_breaks_holds_up_or_floods_the_reader(monkeypatch):
    def in_this_process(content: bytes) -> str:
        # A process for each would take a fifth of a second; that it is killed in time is tested with the attachments.
        try:
            return pdf.text(content)
        except pdf.UnreadableError as error:
            raise CodecError(f"is a PDF that {error}") from None

    monkeypatch.setattr(attachments, "_pdf", in_this_process)
    for number in range(CASES):
        attempt = case(random.Random(number))
        began = time.thread_time()
        try:
            attempt()
        except Exception as error:
            raise AssertionError(f"case {number}") from error
        assert time.thread_time() - began < LONGEST_S, f"case {number}"
