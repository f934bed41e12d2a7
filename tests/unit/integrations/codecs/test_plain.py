"""A report as a file of its own."""

import pytest

from integrations.codecs import CodecError
from integrations.codecs.hl7v2 import NoText
from integrations.codecs.plain import note
from integrations.records import Identifier, Note, NoteKind


@pytest.mark.parametrize(
    ("name", "body", "text"),
    [
        ("DS_MRN88_DOC100.txt", "See cardiology.\r\nMüller".encode(), "See cardiology.\nMüller"),
        ("18842-5_MRN88_DOC100.TXT", "Müller".encode("cp1252"), "Müller"),
        ("DS_MRN88_DOC100.rtf", rb"{\rtf1 See\par cardiology.}", "See\ncardiology."),
        ("DS_MRN88_DOC100.html", b"<p>See</p><p>cardiology.</p>", "See\ncardiology."),
    ],
)
def test_a_files_name_says_what_it_is_and_of_whom(name: str, body: bytes, text: str) -> None:
    found = note(body, "folder", name)
    assert isinstance(found, Note)
    assert (found.text, found.kind) == (text, NoteKind.DISCHARGE_SUMMARY)
    assert (found.patient, found.document) == (Identifier("MRN88", "folder"), Identifier("DOC100", "folder"))


@pytest.mark.parametrize("name", ["note.txt", "DS_MRN88.txt", "DS_MRN88_D_1.txt", "DS__D1.txt", "DS_MRN88_D1.pdf", "DS_MRN88_D1"])
def test_another_name_is_refused_and_not_repeated(name: str) -> None:
    with pytest.raises(CodecError, match="TYPE_PATIENT_DOCUMENT") as caught:
        note(b"x", "folder", name)
    assert "MRN88" not in str(caught.value)


def test_a_file_without_words_has_no_text() -> None:
    assert note(b" \n", "folder", "DS_MRN88_D1.txt") == NoText("the file is empty")


def test_a_file_that_is_no_text_is_refused() -> None:
    with pytest.raises(CodecError, match="is a PDF that"):
        note(b"%PDF-1.7", "folder", "DS_MRN88_D1.txt")
