"""Attachments: bytes and what their sender calls them -> the text of a report, whole or not at all.

Plain text, HTML, RTF and PDF with a text layer are read. What a file is, its first bytes say; what its sender calls it decides
only where they do not. Used for ED of HL7 v2 and Attachment of FHIR.
"""

import base64
import binascii
import re
import subprocess
import sys

from integrations.codecs import CodecError, pdf
from integrations.codecs.er7 import WITHOUT_CONTROLS

PDF_S = 60.0
"""How long one PDF may take on a host that is busy, seconds; `pdf.CPU_S` is what it may compute. 5 MB take less than two."""

_SIGNATURES = {
    b"\x89PNG": "an image (PNG)",
    b"\xff\xd8\xff": "an image (JPEG)",
    b"GIF8": "an image (GIF)",
    b"II*\0": "an image (TIFF)",
    b"MM\0*": "an image (TIFF)",
    b"BM": "an image (BMP)",
    b"PK\x03\x04": "an archive or an Office document",
    b"\xd0\xcf\x11\xe0": "an Office document",
}
_PICTURES = re.compile(r"image/|audio/|video/|application/dicom")
_TEXTUAL = re.compile(r"text/(plain|html|rtf|hl7v2|x-hl7-ft)|application/(xhtml\+xml|rtf|text)|")
_BRACE = re.compile(r"\\.|([{}])", re.DOTALL)
_OTHER_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")


class PictureError(CodecError):
    """The attachment is an image or sound: there is nothing in it that could be read as text."""


def decode(base64_text: str) -> bytes:
    """The bytes behind base64, wherever its lines are broken.

    Raises:
        CodecError: it is none, or not whole.
    """
    try:
        return base64.b64decode("".join(base64_text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise CodecError("is no whole base64", "102") from None


def text(content: bytes, media_type: str = "", encoding: str = "") -> str:
    """The text of one attachment, with line feeds only.

    Args:
        content: as decoded.
        media_type: what the sender calls it, e.g. `application/pdf`; empty where it does not say.
        encoding: Python's name of the character set of plain text and HTML, where it is declared; else UTF-8, or
            Windows-1252 where the bytes are not UTF-8.
    Raises:
        PictureError: it is an image or sound.
        CodecError: it has no text, not all of its text can be had, or nobody here knows its type. The message says which,
            as the rest of a sentence: "is an image (PNG)".
    """
    media_type = media_type.split(";", 1)[0].strip().lower()
    if b"%PDF-" in content[:1024]:
        return _clean(_pdf(content))
    for signature, what in _SIGNATURES.items():
        # Two letters alone may begin a text.
        if content.startswith(signature) and not (signature == b"BM" and media_type.startswith("text/")):
            raise (PictureError if "image" in what else CodecError)(f"is {what}")
    if content[128:132] == b"DICM" or _PICTURES.match(media_type):
        raise PictureError("is an image or sound")
    found = _decoded(content, encoding)
    # Here, because `ehr_export` reads archives of HL7 v2, which brings it back to this module.
    from integrations.ehr_export import markup

    if markup.is_rtf(found.lstrip()):
        if not _is_whole_rtf(found):
            raise CodecError("is an RTF that is cut off: its end is missing")
        return _clean(markup.rtf_to_text(found.lstrip()))
    if "html" in media_type or markup.is_html(found.lstrip()):
        return _clean(markup.html_to_text(found))
    if not _TEXTUAL.fullmatch(media_type):
        raise CodecError("is of a type that is not read")
    if _OTHER_CONTROLS.search(found):
        raise CodecError("is of a type that is not known, and no text")
    return _clean(found)


def _is_whole_rtf(rtf: str) -> bool:
    """The outermost group closes."""
    depth = 0
    for found in _BRACE.finditer(rtf):
        depth += {"{": 1, "}": -1}.get(found[1], 0)
        if found[1] == "}" and depth <= 0:
            return True
    return False


def _decoded(content: bytes, encoding: str) -> str:
    content = content.removeprefix(b"\xef\xbb\xbf")
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encoding = "utf-16"
    for attempt in [encoding] if encoding else ["utf-8", "cp1252"]:
        try:
            return content.decode(attempt)
        except (UnicodeDecodeError, LookupError):
            continue
    raise CodecError("is no text in a known character set", "102")


def _clean(found: str) -> str:
    found = re.sub(r"\r\n?|\f|\v", "\n", found).translate(WITHOUT_CONTROLS)
    if not found.strip():
        raise CodecError("has no text")
    return found


def _pdf(content: bytes) -> str:
    """What `pdf.text` finds, in a process that is killed where it takes too long or too much."""
    command = [sys.executable, "-I", pdf.__file__]
    try:
        done = subprocess.run(
            command, input=content, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=PDF_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise CodecError(f"is a PDF that takes longer than {PDF_S:g} s") from None
    answer = done.stdout.decode("utf-8", "replace")
    if done.returncode == pdf.IS_UNREADABLE:
        raise CodecError(f"is a PDF that {answer}")
    if done.returncode != 0:
        raise CodecError("is a PDF that takes more memory or time than is allowed")
    return answer
