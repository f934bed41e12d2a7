"""ER7, the vertical-bar encoding of HL7 v2: bytes <-> segments and fields, without losing a byte.

`read` is the gate: what it returns is one whole message in a known character set that an answer can name. Fields stay
as they were sent until they are asked for; only then their escapes are undone.
Source: HL7 v2.5.1, chapter 2, sections 2.5 to 2.7 and 2.15.9 (MSH); tables 0211 and 0357.
"""

import dataclasses
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from integrations.codecs import CodecError

BOM = b"\xef\xbb\xbf"
WITHOUT_CONTROLS = {c: None for c in (*range(0x20), 0x7F) if c not in (0x09, 0x0A)}
"""For `str.translate`: what no report means and FHIR forbids, tab and line feed excepted."""

_SINGLE_BYTE = {"ASCII": "ascii"} | {f"8859/{n}": f"iso8859_{n}" for n in (*range(1, 10), 15)}
_UTF8 = frozenset({"UNICODE UTF-8", "UTF-8", "UTF8"})
_BATCH = (b"FHS", b"BHS")


class Header(NamedTuple):
    """MSH as bytes: enough to answer a message that cannot be read."""

    separator: bytes
    parts: tuple[bytes, ...]

    def raw(self, number: int) -> bytes:
        """MSH-`number` as sent; empty where the segment is shorter."""
        return self.parts[number - 1] if 1 < number <= len(self.parts) else b""

    def text(self, number: int) -> str:
        """MSH-`number` for comparing: bytes beyond ASCII are replaced."""
        return self.raw(number).decode("ascii", "replace").strip()


class Separators(NamedTuple):
    """MSH-1 and the first four characters of MSH-2."""

    field: str
    component: str
    repetition: str
    escape: str
    subcomponent: str


@dataclass(frozen=True)
class Segment:
    """One segment as sent, escapes included: its parts between field separators, and the line end that closed it."""

    parts: tuple[str, ...] = dataclasses.field(repr=False)
    end: str

    @property
    def name(self) -> str:
        """`MSH`, `OBX` and so on."""
        return self.parts[0]

    def raw(self, number: int) -> str:
        """Field `number` as the standard counts them, as sent; empty where the segment is shorter."""
        parts = self.parts
        # MSH-1 is the separator itself, so that MSH-2 is the first part after the name.
        place = number - 1 if parts[0] == "MSH" else number
        return parts[place] if 0 < place < len(parts) else ""


@dataclass(frozen=True)
class Message:
    """One HL7 v2 message. `body` is what was received, byte for byte; `warnings` say what was assumed in reading it."""

    body: bytes = dataclasses.field(repr=False)
    segments: tuple[Segment, ...] = dataclasses.field(repr=False)
    separators: Separators
    encoding: str
    warnings: tuple[str, ...] = ()

    def all(self, name: str) -> list[Segment]:
        """The segments of that name, in order."""
        return [s for s in self.segments if s.name == name]

    def first(self, name: str) -> Segment:
        """The first segment of that name; an empty one where there is none."""
        return next((s for s in self.segments if s.name == name), Segment((name,), ""))

    def value(self, segment: Segment, number: int, component: int = 1, subcomponent: int = 1) -> str:
        """One component of a field's first repetition, without escapes; empty where absent."""
        return self.unescape(self.part(segment.raw(number), component, subcomponent)).strip()

    def part(self, raw: str, component: int, subcomponent: int = 0) -> str:
        """Component and subcomponent (0: all of them) of the first repetition of a raw field, as sent."""
        raw = raw.split(self.separators.repetition, 1)[0]
        for number, separator in ((component, self.separators.component), (subcomponent, self.separators.subcomponent)):
            if number:
                pieces = raw.split(separator, number)
                raw = pieces[number - 1] if number <= len(pieces) else ""
        return raw

    def field(self, name: str, number: int) -> str:
        """A field of the first segment of that name, whole and without escapes, e.g. `field("MSH", 10)`."""
        return self.unescape(self.first(name).raw(number))

    def text(self, segment: Segment, number: int) -> str:
        """A field of text (TX, FT, ST): repetitions become lines, separators that were not escaped stay, controls go."""
        lines = (self.unescape(r) for r in segment.raw(number).split(self.separators.repetition))
        text = "\n".join(lines).replace("\r\n", "\n").replace("\r", "\n")
        return text.translate(WITHOUT_CONTROLS)

    def unescape(self, raw: str) -> str:
        """`raw` without its escapes; one that is not known, or not whole, stays as it is."""
        if self.separators.escape not in raw:
            return raw
        return _escapes(self.separators.escape).sub(lambda found: self._meaning(found[0], found[1]), raw)

    def _meaning(self, whole: str, code: str) -> str:
        literal = dict(zip("FSRET", self.separators, strict=True)).get(code)
        if literal is not None:
            return literal
        if code.startswith("X"):
            try:
                return bytes.fromhex(code[1:]).decode(self.encoding)
            except UnicodeDecodeError:
                return whole
        command = code[1:3].lower()
        # Without a limit `\.sp9999\`, repeated, would write a report of gigabytes.
        count = min(int(re.sub(r"\D", "", code) or "1"), 99)
        return {"br": "\n", "ce": "\n", "sp": "\n" * count, "sk": " " * count}.get(command, "")

    @property
    def control_id(self) -> str:
        """MSH-10."""
        return self.field("MSH", 10)

    @property
    def sender(self) -> str:
        """MSH-3 and MSH-4 as `APPLICATION|FACILITY`."""
        return f"{self.field('MSH', 3)}|{self.field('MSH', 4)}"

    @property
    def event(self) -> tuple[str, str]:
        """Message type and trigger event, e.g. `("MDM", "T02")`."""
        msh = self.first("MSH")
        return self.value(msh, 9), self.value(msh, 9, 2)

    def serialise(self) -> bytes:
        """The message as bytes: those that were read."""
        opening = self.body[: self.body.index(b"MSH")]
        return opening + "".join(self.separators.field.join(s.parts) + s.end for s in self.segments).encode(self.encoding)


def header(body: bytes) -> Header | None:
    """MSH of whatever was received; None where it does not begin with one."""
    content = _content(body)
    line = re.split(rb"[\r\n]", content[:65536], maxsplit=1)[0]
    if not line.startswith(b"MSH") or len(line) < 5:
        return None
    return Header(line[3:4], tuple(line.split(line[3:4])))


def read(body: bytes) -> Message:
    """One whole message.

    Raises:
        CodecError: no MSH, an unreadable character set, a batch, a part of a longer message, two messages in one, a
            message cut off, or none that an answer could name.
    """
    content = _content(body)
    if content.startswith(_BATCH):
        raise CodecError("a batch (FHS, BHS) without messages, or whose BTS or FTS counts others than came", "200")
    msh = header(body)
    if msh is None:
        raise CodecError("does not begin with MSH; is it HL7 v2 in vertical-bar encoding?", "100")
    declared = separators(msh)
    encoding, warnings = _encoding(content, msh.text(18))
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        raise CodecError(
            f"holds bytes that {encoding} has no character for; declare the character set in MSH-18", "102"
        ) from None
    segments = tuple(_segments(text, declared.field))
    message = Message(body, segments, declared, encoding, warnings)
    _refuse_what_is_not_one_message(message)
    return message


def _segments(text: str, separator: str) -> Iterator[Segment]:
    """Only a line that looks like a segment starts one: senders leave line ends inside of OBX-5."""
    starts, boundary = _boundaries(separator)
    lines = text.split("\r")
    if lines[-1] == "" and "\n" not in text and all(map(starts, lines[:-1])):
        # As the standard has it, which is most messages, at a third of the time.
        yield from (Segment(tuple(line.split(separator)), "\r") for line in lines[:-1])
        return
    pieces = boundary.split(text)
    for piece, end in zip(pieces[::2], [*pieces[1::2], ""], strict=False):
        if piece:
            yield Segment(tuple(piece.split(separator)), end)


def _content(body: bytes) -> bytes:
    return body.removeprefix(BOM).lstrip(b"\r\n")


def separators(msh: Header) -> Separators:
    """What MSH-1 and MSH-2 declare.

    Raises:
        CodecError: they cannot separate anything.
    """
    declared = (msh.separator + msh.raw(2)).decode("ascii", "replace")
    # 2.7 added a fifth encoding character, for truncation.
    if len(declared) not in (5, 6) or len(set(declared)) != len(declared):
        raise CodecError("MSH-2 does not declare four different encoding characters", "102")
    if any(c.isalnum() or not " " < c < "\x7f" for c in declared):
        raise CodecError("MSH-1 and MSH-2 declare a separator that is a letter, a digit or not printable", "102")
    return Separators(*declared[:5])


def _encoding(content: bytes, declared: str) -> tuple[str, tuple[str, ...]]:
    # Repetitions of MSH-18 are sets to switch to by escape; the first is the one a message starts in.
    declared = declared.split("~", 1)[0].strip().upper()
    codec = "utf-8" if declared in _UTF8 or not declared else _SINGLE_BYTE.get(declared, "")
    if content.isascii():
        return codec or "utf-8", ()
    if not codec:
        raise CodecError("MSH-18 declares a character set that is not read; send UNICODE UTF-8, 8859/1 or ASCII", "103")
    is_utf8 = _is_utf8(content)
    if codec == "utf-8":
        if is_utf8:
            return codec, ()
        if declared:
            raise CodecError("MSH-18 declares UTF-8, but the bytes are not; correct the declaration", "102")
        return "cp1252", ("MSH-18 is empty and the bytes are not UTF-8: read as Windows-1252",)
    if is_utf8:
        raise CodecError("MSH-18 declares a single-byte character set, but the bytes are UTF-8; correct the declaration", "102")
    if codec == "iso8859_1" and re.search(rb"[\x80-\x9f]", content):
        return "cp1252", ("MSH-18 declares 8859/1, but the bytes hold what only Windows-1252 has: read as that",)
    return codec, ()


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def _refuse_what_is_not_one_message(message: Message) -> None:
    names = [s.name for s in message.segments]
    if names.count("MSH") > 1 or {"BHS", "FHS"} & set(names):
        raise CodecError("two messages in one frame; send them one by one", "100")
    if {"DSC", "ADD"} & set(names) or message.field("MSH", 14):
        raise CodecError("part of a longer message (DSC, ADD or MSH-14); send it whole", "100")
    if not message.control_id.strip():
        raise CodecError("MSH-10 is empty, so that no answer could name the message", "101")
    last = message.segments[-1]
    if last.name == "OBX" and not last.end and len(last.parts) <= 11:
        raise CodecError("cut off: its last OBX ends before OBX-11, and no segment end follows", "101")


@lru_cache(maxsize=64)
def _boundaries(separator: str) -> tuple[Callable[[str], object], re.Pattern[str]]:
    """What begins a segment, and the line ends before one."""
    start = rf"[A-Z][A-Z0-9]{{2}}{re.escape(separator)}"
    return re.compile(start).match, re.compile(rf"(?<![\r\n])([\r\n]++)(?={start}|\Z)")


@lru_cache(maxsize=64)
def _escapes(escape: str) -> re.Pattern[str]:
    e = re.escape(escape)
    return re.compile(rf"{e}([FSRETHN]|X(?:[0-9A-Fa-f]{{2}})+|(?i:\.(?:br|ce|fi|nf|(?:sp|sk|in|ti) ?[+-]?\d{{0,4}}))){e}")
