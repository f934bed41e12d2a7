"""A report as a file of its own, for sites with neither HL7 v2 nor FHIR: its name says what it is, of whom, and which one."""

import hashlib
from collections.abc import Mapping
from pathlib import PurePath

from integrations.codecs import CodecError
from integrations.codecs.fhir_texts import text_of
from integrations.codecs.hl7v2 import ROUTES, NoText
from integrations.records import Identifier, Note, NoteKind, Source

TYPES: Mapping[str, str] = {".txt": "text/plain", ".rtf": "text/rtf", ".html": "text/html", ".htm": "text/html"}
"""MIME type by a file's ending."""


def note(body: bytes, sender: str, name: str, routes: Mapping[str, NoteKind] = ROUTES) -> Note | NoText:
    """The report in a file called `TYPE_PATIENT_DOCUMENT.txt`, as `18842-5_MRN88_DOC100.txt` or `DS_MRN88_DOC100.rtf`.

    TYPE is a LOINC or local code, PATIENT a record number, DOCUMENT the document's own number: another file of the same
    name is another version of it.

    Args:
        body: of the file.
        sender: the folder's name in findings, and the system of its numbers.
        name: of the file.
        routes: kind by code.
    Raises:
        CodecError: the name has not these parts, or the file is no text.
    """
    document_type, patient, document = _parts(name)
    # Windows-1252 or UTF-8: a file declares nothing.
    text = text_of(TYPES[PurePath(name).suffix.lower()], body)
    if not text.strip():
        return NoText("the file is empty")
    sha256 = hashlib.sha256(body).hexdigest()
    return Note(
        note_id=hashlib.sha256("\x1f".join((sender, name, sha256)).encode()).hexdigest()[:16],
        kind=routes.get(document_type, NoteKind.OTHER),
        text=text,
        patient=Identifier(patient, sender),
        document=Identifier(document, sender),
        document_type=document_type,
        source=Source(sender, name, sha256, "file"),
    )


def _parts(name: str) -> list[str]:
    path = PurePath(name)
    parts = [part.strip() for part in path.stem.split("_")]
    if path.suffix.lower() not in TYPES or len(parts) != 3 or not all(parts):
        raise CodecError(f"a file must be called TYPE_PATIENT_DOCUMENT with one of the endings {', '.join(TYPES)}")
    return parts
