"""What we answer to a message of HL7 v2, and what an answer says.

Source: HL7 v2.5.1, chapter 2, sections 2.9 (acknowledgement), 2.15.5 (ERR), 2.15.8 (MSA).
"""

import uuid
from datetime import UTC, datetime
from typing import Literal

from integrations.codecs import CodecError
from integrations.codecs.er7 import Header, Message, header, separators

Code = Literal["AA", "AE", "AR"]
"""Taken; not taken, send again; not taken, sending again is of no use."""


def envelope(body: bytes) -> tuple[str, str]:
    """Sender (`MSH-3|MSH-4`) and control id of anything received; empty strings where it tells none."""
    msh = header(body)
    return (f"{msh.text(3)}|{msh.text(4)}", msh.text(10)) if msh else ("", "")


def ack(message: Message | bytes, code: Code, error: str = "", condition: str = "207", at: datetime | None = None) -> bytes:
    """The answer to one message, or to whatever arrived in its place.

    In enhanced mode (MSH-15 or MSH-16 filled) the answer is an accept acknowledgement (CA, CE, CR) where MSH-15 asks
    for one in this case, else an application acknowledgement where MSH-16 does, else empty: the sender wants none.

    Args:
        message: as read, or its bytes where it could not be.
        code: original mode's code.
        error: for AE and AR, one line that quotes nothing of the message.
        condition: code of table 0357 for ERR-3.
        at: when it is answered; now.
    """
    msh = _answerable(message.body if isinstance(message, Message) else message)
    accept, application = msh.text(15), msh.text(16)
    shown: str = code
    if accept or application:
        if _is_wanted(accept, code):
            shown = "C" + code[1]
        elif not _is_wanted(application, code):
            return b""
    # Echoed as bytes: they are in the sender's character set, which may be what could not be read.
    fields = {n: bytes(b for b in msh.raw(n) if b >= 0x20) for n in (2, 3, 4, 5, 6, 9, 10, 11, 12, 18)}
    component = fields[2][:1]
    event = fields[9].split(component)[1:2]
    kind = component.join((b"ACK", *event, *(b"ACK" for _ in event)))
    now = (at or datetime.now(UTC)).strftime("%Y%m%d%H%M%S%z").encode()
    head = [b"MSH", fields[2], fields[5], fields[6], fields[3], fields[4], now, b"", kind, uuid.uuid4().hex[:20].encode()]
    head += [fields[11] or b"P", fields[12] or b"2.5.1", *[b""] * 5, fields[18]]
    segments = [head, [b"MSA", shown.encode(), fields[10]]]
    if code != "AA":
        # What the sender declared as separators must not appear in our words.
        words = bytes(b if b not in msh.separator + fields[2] else 0x20 for b in error.encode("ascii", "replace"))
        segments[1].append(words)
        segments.append([b"ERR", b"", b"", component.join((condition.encode(), b"", b"HL70357")), b"E", *[b""] * 3, words])
    return b"".join(msh.separator.join(s).rstrip(msh.separator) + b"\r" for s in segments)


def acknowledged(answer: bytes) -> tuple[str, str]:
    """MSA-1 and MSA-2 of an answer; empty strings where it has none."""
    msh = header(answer)
    for line in answer.replace(b"\n", b"\r").split(b"\r") if msh else ():
        if msh and line.startswith(b"MSA" + msh.separator):
            _, code, control_id, *_ = [*line.split(msh.separator), b""]
            return code.decode("ascii", "replace").strip(), control_id.decode("ascii", "replace").strip()
    return "", ""


def _is_wanted(condition: str, code: Code) -> bool:
    return condition == "AL" or condition == ("SU" if code == "AA" else "ER")


def _answerable(body: bytes) -> Header:
    msh = header(body)
    try:
        if msh and separators(msh):
            return msh
    except CodecError:
        pass
    return Header(b"|", (b"MSH", rb"^~\&"))
