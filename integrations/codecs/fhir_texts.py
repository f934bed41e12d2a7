"""The text that a FHIR document carries: its attachments, in whatever format, or the narrative of its sections.

Source: FHIR 4.0.1, Attachment, DocumentReference.content, DiagnosticReport.presentedForm and Composition.section.
"""

import base64
import binascii
import codecs
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from integrations.codecs import CodecError, attachments
from integrations.codecs.er7 import WITHOUT_CONTROLS
from integrations.codecs.hl7v2 import NoText
from integrations.ehr_export.markup import html_to_text

_FORMATS = (
    "text/plain", "text/html", "application/xhtml+xml", "application/xhtml", "text/rtf", "application/rtf", "application/pdf",
)  # fmt: skip
"""What can be read, the plainest first."""
_NAMED = frozenset({
    *_FORMATS, "application/xml", "text/xml", "application/hl7-v3+xml", "application/msword", "application/dicom",
    "image/jpeg", "image/png", "image/tiff",
})  # fmt: skip
"""What a link may be called by its name."""
_CHARSET = re.compile(r"charset *= *[\"']?([\w.:-]{1,40})", re.IGNORECASE)
_KNOWN_CHARSET = re.compile(r"utf-?8|utf-?16(le|be)?|us-ascii|ascii|iso-8859-\d{1,2}|windows-\d{3,4}", re.IGNORECASE)

Fetched = Callable[[str], Mapping[str, Any] | None]
"""The resource that stands behind a url in the same message; None where it is not there."""


def text_of(content_type: str, data: bytes) -> str:
    """The text of an attachment, its lines ended by line feeds; empty where it has no bytes.

    Args:
        content_type: MIME type, with or without a charset.
        data: the attachment's bytes.
    Raises:
        CodecError: it is no text that can be read without guessing.
    """
    if not data.strip():
        return ""
    declared = _CHARSET.search(content_type)
    try:
        # The lines' end differs by format where their text does not.
        return attachments.text(data, content_type, _encoding(data, declared[1]) if declared else "").rstrip("\n")
    except CodecError as error:
        raise CodecError(f"its attachment {error}") from None


def clean(text: str) -> str:
    """Line ends as line feeds, and nothing that no report means."""
    return text.replace("\r\n", "\n").replace("\r", "\n").translate(WITHOUT_CONTROLS)


def attached(found: Sequence[Mapping[str, Any]], fetched: Fetched) -> str | NoText:
    """The text of attachments that are the same document in several formats.

    Raises:
        CodecError: none of them can be read, or there are several texts in one format.
    """
    contents = [content for a in found if (content := _content(a, fetched)) is not None]
    # A server may have an empty text beside the printed page.
    written = [(kind, data) for kind, data in contents if data.strip()]
    if not written:
        if links := [a for a in found if "url" in a and _content(a, fetched) is None]:
            shown = _mime(links[0].get("contentType", ""))
            kind = f" ({shown})" if shown in _NAMED else ""
            raise CodecError(f"its attachment{kind} is only a link, and what stands behind it did not come with the message")
        return NoText("the text of its attachment is empty" if contents else "it has no attachment with data")
    ranks = [_FORMATS.index(kind) if (kind := _mime(t)) in _FORMATS else len(_FORMATS) for t, _ in written]
    texts = {text_of(*content) for content, rank in zip(written, ranks, strict=True) if rank == min(ranks)}
    if len(texts) > 1:
        raise CodecError("it has several attachments of one format with different texts; send one document in a message")
    (text,) = texts
    return text if text.strip() else NoText("the text of its attachment is empty")


def narrated(composition: Mapping[str, Any]) -> str | NoText:
    """Titles and narratives of a Composition's sections, in order; its own narrative where no section has one."""
    parts = list(_sections(composition))
    if not any(narrative for _, narrative in parts):
        parts = [("", _narrative(composition))]
    if not any(narrative for _, narrative in parts):
        return NoText("it has no narrative")
    return clean("\n\n".join(part for part in ("\n".join(filter(None, pair)) for pair in parts) if part))


def _sections(composition: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    waiting = composition.get("section", [])[::-1]
    while waiting:
        section = waiting.pop()
        yield section.get("title", "").strip(), _narrative(section)
        waiting += section.get("section", [])[::-1]


def _narrative(element: Mapping[str, Any]) -> str:
    return html_to_text(element.get("text", {}).get("div", ""))


def _content(attachment: Mapping[str, Any], fetched: Fetched) -> tuple[str, bytes] | None:
    """MIME type and bytes of one attachment; None where it has none here."""
    kind = attachment.get("contentType", "")
    if "data" in attachment:
        return kind, _from_base64(attachment["data"])
    found = fetched(attachment["url"]) if "url" in attachment else None
    if found is None or found.get("resourceType") != "Binary" or not isinstance(found.get("data"), str):
        return None
    # The reference's own label may name the character set that the server's does not.
    named = found.get("contentType")
    return kind or (named if isinstance(named, str) else ""), _from_base64(found["data"])


def _from_base64(data: str) -> bytes:
    try:
        return base64.b64decode(re.sub(r"\s+", "", data), validate=True)
    except (binascii.Error, ValueError):
        raise CodecError("its attachment is not base64") from None


def _mime(content_type: str) -> str:
    return content_type.split(";")[0].strip().lower()


def _encoding(data: bytes, charset: str) -> str:
    """Python's name of a declared character set.

    Raises:
        CodecError: the bytes are not in it.
    """
    try:
        # Python knows more encodings than hospitals do, some of which are programs (unicode_escape).
        name = codecs.lookup(charset if _KNOWN_CHARSET.fullmatch(charset) else "").name
    except LookupError:
        raise CodecError("declares a character set that is not known") from None
    if not name.startswith("utf") and not data.isascii() and _is_utf8(data):
        # Read as declared, every accent would become two characters: more likely the label is wrong.
        raise CodecError("declares a single-byte character set, but is UTF-8")
    return name


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
