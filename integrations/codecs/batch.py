"""A batch of HL7 v2 messages (FHS, BHS ... BTS, FTS) -> its messages, byte for byte.

Source: HL7 v2.5.1, 2.10.3 (batch protocol), 2.15.2 (BHS), 2.15.3 (BTS), 2.15.6 (FHS), 2.15.7 (FTS).
"""

import re
from functools import lru_cache

from integrations.codecs.er7 import BOM


def split(body: bytes) -> list[bytes]:
    """The messages of a batch, in their order; anything else comes back as it is, alone.

    Where its trailers count other messages or batches than came, or are missing, the batch's own segments follow its messages:
    `er7.read` refuses them with the reason, so that they are kept, parked and answered as a message that cannot be read.
    """
    content = body.removeprefix(BOM).lstrip(b"\r\n")
    if not content.startswith((b"FHS", b"BHS")) or len(content) < 4:
        return [body]
    pieces = [piece for piece in _start(content[3:4]).split(content) if piece]
    messages = [piece for piece in pieces if piece.startswith(b"MSH")]
    if messages and _is_whole(pieces, content[3:4]):
        return messages
    return [*messages, b"".join(piece for piece in pieces if not piece.startswith(b"MSH"))]


@lru_cache(maxsize=64)
def _start(separator: bytes) -> re.Pattern[bytes]:
    """Where a message begins, or a segment of the batch's own; a trailer may be without fields."""
    return re.compile(rb"(?:^|(?<=[\r\n]))(?=(?:MSH|FHS|BHS)%b|(?:BTS|FTS)(?:%b|[\r\n]|\Z))" % ((re.escape(separator),) * 2))


def _is_whole(pieces: list[bytes], separator: bytes) -> bool:
    """Every BHS has its BTS and every FHS its FTS, and both count what came, where they count."""
    n_messages = n_batches = 0
    opened: list[bytes] = []
    for piece in pieces:
        name = piece[:3]
        if name == b"MSH":
            n_messages += 1
        elif name in (b"FHS", b"BHS"):
            opened.append(name)
            n_messages = 0
        else:
            begun, came = (b"BHS", n_messages) if name == b"BTS" else (b"FHS", n_batches)
            count = piece.split(separator)[1].strip() if separator in piece else b""
            if not opened or opened.pop() != begun or (count.isdigit() and count.lstrip(b"0") != b"%d" % came * bool(came)):
                return False
            n_batches += name == b"BTS"
    return not opened
