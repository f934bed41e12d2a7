"""An archive of HL7 v2 messages: framed by MLLP, as a batch (FHS, BHS), or one after the other, each beginning with MSH."""

import re
from collections.abc import Iterator

from integrations.codecs import CodecError, hl7v2
from integrations.codecs.er7 import BOM
from integrations.ehr_export import opening
from integrations.ehr_export.columns import Columns
from integrations.ehr_export.ledger import Ledger
from integrations.ehr_export.opening import Source
from integrations.records import Note

# The literal stands first, so that it is searched for as fast as bytes.find would. It begins a message at the beginning of a
# line, where a separator follows (a report's line may begin with the letters MSH), and anywhere with all separators in place:
# two patients' messages are never read as one, whatever stands between them.
_SIGN = rb"[!-/:-@\[-`{-~]"
_START = re.compile(rb"MSH(?:(?<=[\r\n\x0b\x1c]MSH)%b|(%b)%b{4,5}\1)" % (_SIGN, _SIGN, _SIGN))
_ENDS = (b"\r", b"\n", b"\x0b", b"\x1c")
_BETWEEN = (*_ENDS, BOM)
_BATCH = (b"FHS", b"BHS", b"BTS", b"FTS")
_LOOK_BACK_BYTES = len(b"\nMSH|^~\\&#|")


def read(source: Source, name: str, columns: Columns, ledger: Ledger) -> Iterator[Note]:
    """The notes of the file's messages; each is named by a hash of sender, control id and message."""
    for body in _messages(source, ledger):
        try:
            found = hl7v2.note(hl7v2.read(body))
        except CodecError as error:
            ledger.drop(f"an HL7 message that cannot be read: {error}")
            continue
        if isinstance(found, Note) and found.status.is_withdrawn:
            ledger.drop("an HL7 message that withdraws its document")
        elif isinstance(found, Note):
            yield found
        else:
            ledger.drop(f"an HL7 message without a note: {found.reason}")


def _messages(source: Source, ledger: Ledger) -> Iterator[bytes]:
    """Whole messages, without the frame and the batch's segments around them."""
    held, searched = b"\n", 1
    is_message, is_too_long = False, False
    for block in source.blocks():
        held += block
        starts = [found.start() for found in _START.finditer(held, searched)]
        for start, stop in zip([0, *starts], starts, strict=False):
            if body := _taken(held[start:stop], is_message, is_too_long, ledger):
                yield body
            is_message, is_too_long = True, False
        held = held[starts[-1] :] if starts else held
        searched = max(1, len(held) - _LOOK_BACK_BYTES)
        if len(held) > opening.MAX_BYTES:
            if not is_too_long:
                ledger.drop("an HL7 message larger than 64 MB")
            is_too_long, held, searched = True, held[-_LOOK_BACK_BYTES:], 1
    if not source.ends_early and (body := _taken(held, is_message, is_too_long, ledger)):
        yield body


def _taken(piece: bytes, is_message: bool, is_too_long: bool, ledger: Ledger) -> bytes:
    """A message as its codec wants it; nothing, and counted, where the piece is none."""
    if is_too_long:
        return b""
    end = len(piece)
    while True:
        while piece.endswith(_BETWEEN, 0, end):
            end -= len(BOM) if piece.endswith(BOM, 0, end) else 1
        begin = max(piece.rfind(sign, 0, end) for sign in _ENDS) + 1
        if not piece.startswith(_BATCH, begin, end):
            break
        end = begin
    if not is_message:
        if piece[:end].strip():
            ledger.drop("what stands in an .hl7 file before its first message (MSH)")
        return b""
    # The codec tells by the last segment's end whether a message is whole; its frame's end shows that too.
    return piece[:end] + (b"\r" if end < len(piece) else b"")
