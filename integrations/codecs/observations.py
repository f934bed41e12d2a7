"""OBX -> text: what the observations of one report say, and what is not read of a message.

Source: HL7 v2.5.1, 2.A.24 (ED), 2.A.66 (RP), 7.4.2 (OBX); tables 0085, 0191, 0291, 0299.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence

from integrations.codecs import CodecError, attachments
from integrations.codecs.attachments import PictureError
from integrations.codecs.er7 import Message, Segment

NARRATIVE = ("TX", "FT", "ST")
ATTACHED = ("ED", "RP")
RETRACTED = frozenset({"D", "W", "X"})
"""OBX-11: deleted, wrong (another patient's, say), never obtained."""

_MOST_ATTACHMENTS = 20
_MOST_NUMBERS = 5
_ENCODINGS = ("A", "BASE64", "HEX")
_NAME = re.compile(r"[\w.+/&-]{0,64}")
"""What a type or an encoding is called, and no report."""
_SCANNED = frozenset({"SD", "SI"})
_MEDIA = {"TX": "text/plain", "TEXT": "text/plain", "FT": "text/plain", "IM": "image/", "NS": "image/", "AU": "audio/"}
_ELSEWHERE = "is a pointer (RP) to a document that is not in the message"


def carries_text(message: Message, obx: Segment) -> bool:
    """It may hold text, or a file with some, and its sender stands by it."""
    return obx.raw(2) in NARRATIVE + ATTACHED and message.value(obx, 11) not in RETRACTED


def text(message: Message, observations: Sequence[Segment]) -> tuple[str, dict[int, str]]:
    """The text of one report's observations, and why some of them add nothing: by `id` of the segment.

    TX, FT and ST are the narrative, a line feed between two. A file (ED) beside it is read too. Where one says, line by line
    and in this order, all that the other says, it stands for both: senders add the printed page to its text. Where they
    differ, both are read, in the order of the OBX: text twice does less harm than a line that is lost. Pictures, and pointers
    (RP) to what lies elsewhere, are left out where there is text beside them.

    Raises:
        CodecError: a file that should have text cannot be read whole, so that nobody knows whether the text beside it is the
            report; or nothing but pictures and pointers is there.
    """
    pieces: list[tuple[Segment, str]] = []
    left_out: dict[int, str] = {}
    for number, obx in _numbered(message, observations):
        try:
            pieces.extend((obx, piece) for piece in _pieces(message, obx))
        except PictureError as error:
            left_out[id(obx)] = str(error)
        except CodecError as error:
            raise CodecError(f"its OBX {number} ({_shown(obx.raw(2))}) {error}", error.condition) from None
    if len([obx for obx, _ in pieces if obx.raw(2) in ATTACHED]) > _MOST_ATTACHMENTS:
        raise CodecError(f"holds more than {_MOST_ATTACHMENTS} attachments; send one document in a message")
    found = "\n".join(_once(pieces))
    if left_out and not found.strip():
        first = next((n, obx) for n, obx in _numbered(message, observations) if id(obx) in left_out)
        raise CodecError(f"its OBX {first[0]} ({_shown(first[1].raw(2))}) {left_out[id(first[1])]}")
    return found, left_out


def not_read(message: Message, read: Iterable[Segment], left_out: dict[int, str]) -> str:
    """Each OBX of the message that no text was taken from, and why; empty where there is none."""
    taken = {id(obx) for obx in read}
    by_reason: dict[str, list[int]] = {}
    for number, obx in enumerate(message.all("OBX"), 1):
        reason = left_out.get(id(obx))
        if reason is None and id(obx) not in taken:
            is_text = obx.raw(2) in NARRATIVE + ATTACHED
            is_retracted = is_text and message.value(obx, 11) in RETRACTED
            reason = "is retracted by its sender" if is_retracted else "is of another order" if is_text else "is no text"
        if reason is not None:
            by_reason.setdefault(f"({_shown(obx.raw(2))}) {reason}", []).append(number)
    return "; ".join(f"OBX {_listed(numbers)} {reason}" for reason, numbers in by_reason.items())


def _numbered(message: Message, observations: Sequence[Segment]) -> Iterable[tuple[int, Segment]]:
    """With the place among the OBX of the message: OBX-1 begins anew with each order."""
    wanted = {id(obx) for obx in observations}
    return [(number, obx) for number, obx in enumerate(message.all("OBX"), 1) if id(obx) in wanted]


def _listed(numbers: list[int]) -> str:
    more = len(numbers) - _MOST_NUMBERS
    return ", ".join(map(str, numbers[:_MOST_NUMBERS])) + (f" and {more} more" if more > 0 else "")


def _pieces(message: Message, obx: Segment) -> list[str]:
    """The texts that one observation holds; its repetitions are lines, or files."""
    kind = obx.raw(2)
    if kind in NARRATIVE:
        written = message.text(obx, 5)
        return [] if written.strip() == '""' else [written]
    if kind == "RP":
        if message.value(obx, 5).strip('"'):
            raise PictureError(_ELSEWHERE)
        return []
    return [_file(message, r) for r in obx.raw(5).split(message.separators.repetition) if not _is_empty(message, r)]


def _is_empty(message: Message, raw: str) -> bool:
    """Nothing was sent: at most what it would have been."""
    parts = raw.split(message.separators.component, 4)
    if len(parts) in (2, 3, 4) and not _is_without_source(parts):
        return all(_NAME.fullmatch(part.strip(' "')) for part in parts[1:])
    return parts[-1].strip(' "') == ""


def _is_without_source(parts: list[str]) -> bool:
    """An ED of four components, as some send it: the type is one of them, or its source is missing."""
    return len(parts) == 4 and parts[2].strip().upper() in _ENCODINGS


def _file(message: Message, raw: str) -> str:
    """The text of one ED: source, type, subtype, encoding, data. Data alone, which some send, says itself what it is."""
    parts = [message.unescape(part).strip() for part in raw.split(message.separators.component, 4)]
    if _is_without_source(parts):
        named = parts[:2] if parts[0] and "/" not in parts[1] else [*parts[1].split("/", 1), ""][:2]
        parts = ["", *named, *parts[2:]]
    if len(parts) not in (1, 5):
        raise CodecError("has its data in another component than the fifth", "102")
    kind, subtype, encoding, data = parts[1:] if len(parts) == 5 else ("", "", "", parts[0])
    kind, encoding = kind.upper(), encoding.upper()
    media_type = _media_type(kind, subtype.upper())
    if encoding not in (*_ENCODINGS, ""):
        raise CodecError("names an encoding that is not known; send Base64", "102")
    try:
        if encoding == "HEX":
            content = _hex(data)
        elif encoding == "BASE64" or (not encoding and _is_file(data)):
            content = attachments.decode(data.rstrip(message.separators.component))
        else:
            return attachments.text(data.encode(), media_type, "utf-8")
        return attachments.text(content, media_type)
    except PictureError as error:
        # A page that went through a scanner is a document, and not a picture beside one.
        raise (CodecError if kind in _SCANNED else PictureError)(str(error)) from None


def _media_type(kind: str, subtype: str) -> str:
    """Tables 0191 and 0291, and what is written in their place."""
    named = f"{kind}/{subtype}"
    for word, media_type in (("PDF", "application/pdf"), ("RTF", "text/rtf"), ("HTML", "text/html")):
        if word in named:
            return media_type
    if kind in _MEDIA and (subtype in ("", "PLAIN", "TEXT", "TXT") or _MEDIA[kind] != "text/plain"):
        return _MEDIA[kind]
    return named.lower().strip("/")


def _is_file(data: str) -> bool:
    """Data whose encoding is not named begins as the base64 of a PDF or of RTF does."""
    return data.startswith(("JVBERi", "e1xydG"))


def _hex(data: str) -> bytes:
    try:
        return bytes.fromhex(data)
    except ValueError:
        raise CodecError("is no whole hexadecimal text", "102") from None


def _once(pieces: list[tuple[Segment, str]]) -> list[str]:
    """The texts without those that others say in full, as `text` tells."""
    lines = [_signs(line) for obx, piece in pieces if obx.raw(2) in NARRATIVE for line in piece.split("\n")]
    narrative = "".join(lines)
    seen = {_signs(piece) for obx, piece in pieces if obx.raw(2) in ATTACHED}
    is_said = bool(narrative) and any(_says(signs, lines) for signs in seen if signs != narrative)
    kept = []
    for obx, piece in pieces:
        if obx.raw(2) in NARRATIVE:
            kept += [] if is_said else [piece]
        elif _signs(piece) in seen and not _says(narrative, map(_signs, piece.split("\n"))):
            seen.discard(_signs(piece))
            kept.append(piece)
    return kept


def _signs(piece: str) -> str:
    """What is printed, whatever blanks and line ends a page puts between."""
    return "".join(unicodedata.normalize("NFKC", piece).split())


def _says(signs: str, lines: Iterable[str]) -> bool:
    position = 0
    for line in lines:
        position = signs.find(line, position)
        if position < 0:
            return False
        position += len(line)
    return True


def _shown(code: str) -> str:
    return code if re.fullmatch(r"[A-Z][A-Z0-9]{1,2}", code) else "?"
