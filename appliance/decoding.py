"""A message of any format -> the note that it carries, by the codec of that format."""

from collections.abc import Mapping

from integrations.codecs import fhir_documents, hl7v2, plain
from integrations.codecs.hl7v2 import NoText
from integrations.mailbox import Format, InboxMessage
from integrations.records import Note, NoteKind


def note_of(message: InboxMessage, routes: Mapping[str, NoteKind]) -> Note | NoText:
    """The note in a message, or why there is none to read.

    Raises:
        CodecError: it cannot be read without guessing.
    """
    match message.format:
        case Format.HL7V2:
            return hl7v2.note(hl7v2.read(message.body), routes)
        case Format.FHIR:
            return fhir_documents.note(message.body, message.source, message.control_id, routes)
        case Format.TEXT:
            return plain.note(message.body, message.source, message.control_id, routes)
