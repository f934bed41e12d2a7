"""The text layer of a PDF, whole or not at all.

`attachments` runs this file as a process of its own, which may be killed: no PDF can hold up or exhaust the appliance. It
imports nothing of the appliance, so that the process needs no path to it. Source: ISO 32000-1:2008, 7.7 and 9.10.
"""

import contextlib
import io
import logging
import re
import resource
import sys
import unicodedata
from collections.abc import Iterator

from pypdf import Configuration, PageObject, PdfReader, apply_configuration
from pypdf.errors import LimitReachedError
from pypdf.generic import ContentStream

MOST_PAGES = 500
MOST_CHARACTERS = 4_000_000
MEMORY_BYTES = 2**30
CPU_S = 10
IS_UNREADABLE = 3
"""Exit status where the reason is on stdout instead of the text."""

_UNPACKED_BYTES = 16 * 2**20
_LIMITS = Configuration(
    zlib_maximum_output_length=_UNPACKED_BYTES,
    lzw_maximum_output_length=_UNPACKED_BYTES,
    run_length_maximum_output_length=_UNPACKED_BYTES,
    array_based_stream_maximum_output_length=_UNPACKED_BYTES,
    stream_decoding_work_maximum_length=4 * _UNPACKED_BYTES,
    stream_parsing_work_maximum_count=1_000_000,
)
"""Of one stream: what a page says takes some kilobytes."""
_HARMLESS = re.compile(
    r"startxref|xref|Superfluous whitespace|ref repaired|pdf header|Root found|wrong pointing|Limiting excessive|font width"
    r"|Object Streams|/ID entry|destination|outline|Viewer preferences|NameObject|Optional font table|Multiple definitions",
    re.IGNORECASE,
)
"""What pypdf warns of and mends without losing text; whatever else it mends may have lost some."""
_PAINTS = frozenset({b"Do", b"sh", b"INLINE IMAGE", b"f", b"F", b"f*", b"B", b"B*", b"b", b"b*", b"S", b"s"})
_UNMAPPED = frozenset({"Cc", "Cn", "Co", "Cs"})


class UnreadableError(Exception):
    """The PDF has no text, or not all of its text can be had; the message says why and quotes nothing."""


def text(content: bytes) -> str:
    """The text of every page, pages apart by a line feed.

    Raises:
        UnreadableError: it is encrypted, broken or too large, a page shows something and has no text, as a scan does, or
            text stands where a page's own text does not show it.
    """
    try:
        with _nothing_lost(), apply_configuration(_LIMITS):
            reader = PdfReader(io.BytesIO(_with_its_end(content)))
            _refuse_what_is_not_pages(reader)
            found = "\n".join(_pages(reader))
    except UnreadableError:
        raise
    except LimitReachedError:
        raise UnreadableError("unpacks to more than a report can hold") from None
    except Exception as error:
        # pypdf's own words may quote the file.
        raise UnreadableError(f"is broken ({type(error).__name__})") from None
    if not found.strip():
        raise UnreadableError("has no text")
    _refuse_unknown_letters(found)
    return found


def _with_its_end(content: bytes) -> bytes:
    if b"%%EOF" not in content[-1024:]:
        raise UnreadableError("is cut off: its end is missing")
    # Without a table of its objects pypdf looks for them, but only where it is told of a table that is not there.
    return content if b"startxref" in content else content + b"\nstartxref\n0\n%%EOF\n"


def _refuse_what_is_not_pages(reader: PdfReader) -> None:
    if reader.is_encrypted:
        raise UnreadableError("is encrypted")
    if "/Collection" in reader.root_object:
        raise UnreadableError("is a portfolio of other files")
    if len(reader.pages) > MOST_PAGES:
        raise UnreadableError(f"has {len(reader.pages)} pages, more than {MOST_PAGES}")
    form = reader.root_object.get("/AcroForm")
    if form is not None and ("/XFA" in form.get_object() or any((reader.get_form_text_fields() or {}).values())):
        raise UnreadableError("is a form, whose entries are not part of its pages' text")


def _pages(reader: PdfReader) -> Iterator[str]:
    n_characters = 0
    for number, page in enumerate(reader.pages, 1):
        found = page.extract_text()
        if not found.strip() and _shows_something(page, reader):
            raise UnreadableError(f"has no text on page {number} of {len(reader.pages)}, as a scan has none")
        if any(a.get_object().get("/Subtype") == "/FreeText" for a in page.get("/Annots") or ()):
            raise UnreadableError(f"has text on page {number} that was written over it")
        n_characters += len(found)
        if n_characters > MOST_CHARACTERS:
            raise UnreadableError(f"has more than {MOST_CHARACTERS} characters")
        yield found


def _shows_something(page: PageObject, reader: PdfReader) -> bool:
    contents = page.get("/Contents")
    return contents is not None and any(
        operator in _PAINTS for _, operator in ContentStream(contents.get_object(), reader).operations
    )


def _refuse_unknown_letters(found: str) -> None:
    """A font that does not say which letters its glyphs are gives other signs than a reader of the page would see."""
    signs = set(found) - set("\t\n\r\f")
    if any(sign == "\ufffd" or unicodedata.category(sign) in _UNMAPPED for sign in signs):
        raise UnreadableError("has a font that does not say which letters it shows")


@contextlib.contextmanager
def _nothing_lost() -> Iterator[None]:
    """Raise UnreadableError where pypdf passes over something: at once, or at the end where it passes over that as well."""
    broken = UnreadableError("is broken: not all of it can be read")
    heard: list[UnreadableError] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if not _HARMLESS.search(record.getMessage()):
                heard.append(broken)
                # A small file can be damaged in a hundred thousand places.
                raise broken

    logger, listener = logging.getLogger("pypdf"), Listener(logging.WARNING)
    logger.addHandler(listener)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(listener)
        logger.propagate = True
    if heard:
        raise broken


def main() -> int:
    """Text on stdout of the PDF on stdin, or why there is none; the exit status says which."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    status, answer = 0, ""
    try:
        answer = text(sys.stdin.buffer.read())
    except UnreadableError as error:
        status, answer = IS_UNREADABLE, str(error)
    sys.stdout.buffer.write(answer.encode("utf-8", "replace"))
    return status


if __name__ == "__main__":
    sys.exit(main())
