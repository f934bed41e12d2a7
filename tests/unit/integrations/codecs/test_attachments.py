"""Files in a message: read whole, or refused with the reason."""

import base64
import random
import resource
import zlib

import pytest

from integrations.codecs import CodecError, attachments, pdf
from integrations.codecs.attachments import PictureError
from tests.pdf_file import joined, stream
from tests.pdf_file import pdf as pdf_of

LINES = ["DISCHARGE SUMMARY", "See cardiology (Dr. Müller) in 2 weeks.", "INR < 2.5 on Friday."]
TEXT = "\n".join(LINES)
FORM = {"catalog": b"/AcroForm<</Fields[3 0 R]>>", "third": b"<</FT/Tx/T(a)/V(written by hand)>>"}


@pytest.mark.parametrize(
    ("content", "media_type", "text"),
    [
        (TEXT.encode(), "text/plain", TEXT),
        (TEXT.replace("\n", "\r\n").encode("cp1252"), "", TEXT),
        (b"\xef\xbb\xbf" + TEXT.encode(), "text/plain; charset=utf-8", TEXT),
        (TEXT.encode("utf-16"), "text/plain", TEXT),
        (b"BMI 21, BMP on Friday", "text/plain", "BMI 21, BMP on Friday"),
        (rb"{\rtf1\ansi DISCHARGE\par See cardiology.}", "application/rtf", "DISCHARGE\nSee cardiology."),
        (rb"{\rtf1\ansi DISCHARGE\par See cardiology.}", "text/plain", "DISCHARGE\nSee cardiology."),
        (b"<p>DISCHARGE</p><p>INR &lt; 2.5</p>", "text/html", "DISCHARGE\nINR < 2.5"),
        (b"<!DOCTYPE html><html><body>INR<br>2</body></html>", "", "INR\n2"),
        (pdf_of([LINES]), "application/pdf", TEXT),
        (pdf_of([LINES[:2], LINES[2:]], image=b"logo"), "application/octet-stream", TEXT),
        (pdf_of([LINES, []]), "application/pdf", TEXT),
    ],
)
def test_a_file_is_read_as_what_its_first_bytes_say(content, media_type, text):
    assert [line for line in attachments.text(content, media_type).split("\n") if line] == text.split("\n")


@pytest.mark.parametrize(
    ("content", "media_type", "reason"),
    [
        (pdf_of([[]], image=b"scan"), "application/pdf", "no text on page 1 of 1"),
        (pdf_of([LINES, []], image=b"scan"), "application/pdf", "no text on page 2 of 2"),
        (pdf_of([LINES, []], drawn=b"0 0 m 9 9 l S"), "application/pdf", "no text on page 1 of 1|no text on page 2"),
        (pdf_of([[]]), "application/pdf", "has no text"),
        (pdf_of([LINES]).replace(b"/Size", b"/Encrypt<</Filter/Standard/V 1/R 2/O()/U()/P -4>>/Size"), "", "encrypted|broken"),
        (pdf_of([LINES])[:-300], "application/pdf", "cut off"),
        (pdf_of([LINES])[:400] + b"\n%%EOF", "application/pdf", "broken"),
        (pdf_of([LINES], **FORM), "application/pdf", "form"),
        (pdf_of([LINES], catalog=b"/Collection<<>>"), "application/pdf", "portfolio"),
        (pdf_of([LINES] * (pdf.MOST_PAGES + 1)), "application/pdf", "more than 500"),
        (b"%PDF-1.7\n%%EOF", "application/pdf", "broken"),
        (b"PK\x03\x04docx", "application/vnd.openxmlformats", "Office"),
        (b"<ClinicalDocument/>", "text/xml", "type that is not read"),
        (b"\x00\x01\x02binary", "", "not known"),
        (b" \r\n ", "text/plain", "no text"),
        (b"{\\rtf1\\ansi }", "text/rtf", "no text"),
        (b"{\\rtf1{\\b DISCHARGE}\\par See cardiology", "text/rtf", "RTF that is cut off"),
        (b"{\\rtf1 See cardiology \\}", "text/plain", "RTF that is cut off"),
    ],
)
def test_what_cannot_be_read_whole_is_refused_with_its_reason(content, media_type, reason):
    with pytest.raises(CodecError, match=reason) as caught:
        attachments.text(content, media_type)
    assert not isinstance(caught.value, PictureError)
    assert "cardiology" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        (b"\x89PNG\r\n\x1a\n", "application/pdf"),
        (b"\xff\xd8\xff\xe0", ""),
        (b"II*\0rest", ""),
        (b"anything", "image/jpeg"),
        (bytes(128) + b"DICM", ""),
    ],
)
def test_a_picture_says_that_it_is_one(content, media_type):
    with pytest.raises(PictureError, match="image"):
        attachments.text(content, media_type)


def test_a_text_in_an_unknown_character_set_is_refused():
    with pytest.raises(CodecError, match="character set"):
        attachments.text("Müller".encode("latin-1"), "text/plain", "ascii")


@pytest.mark.parametrize("end", ["", "\n", "\r\n", " \t\r\n"])
def test_base64_may_be_wrapped(end):
    coded = base64.b64encode(TEXT.encode()).decode()
    assert attachments.decode("".join(coded[i : i + 20] + end for i in range(0, len(coded), 20))).decode() == TEXT


@pytest.mark.parametrize("coded", ["<Base64 encoded>", "QUJD=QUJD", "QUJ", "Müller"])
def test_what_is_no_whole_base64_is_refused(coded):
    with pytest.raises(CodecError, match="base64"):
        attachments.decode(coded)


def cpu_s() -> float:
    """Of this process and of those it has waited for: a host that does other things too must not fail the test."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(used.ru_utime + used.ru_stime for used in both)


def test_a_pdf_of_five_megabytes_is_read_within_two_seconds():
    lines = ["The patient should see cardiology in two weeks and have the INR rechecked on Friday."] * 50
    content = pdf_of([lines] * 20, image=random.Random(1).randbytes(5_000_000))
    began = cpu_s()
    assert attachments.text(content, "application/pdf").count("cardiology") == 1000
    assert cpu_s() - began < 2


def test_a_pdf_that_unpacks_to_gigabytes_is_refused_in_time():
    packer = zlib.compressobj(1)
    bomb = b"".join([packer.compress(bytes(10_000_000)) for _ in range(30)]) + packer.flush()
    page = b"<</Type/Page/Parent 3 0 R/MediaBox[0 0 9 9]/Contents 1 0 R>>"
    pages, catalog = b"<</Type/Pages/Count 1/Kids[2 0 R]>>", b"<</Type/Catalog/Pages 3 0 R>>"
    began = cpu_s()
    with pytest.raises(CodecError, match="unpacks to more"):
        attachments.text(joined([stream(bomb, b"/Filter/FlateDecode"), page, pages, catalog]))
    assert cpu_s() - began < pdf.CPU_S + 1


def test_a_pdf_that_takes_too_long_is_given_up(monkeypatch):
    monkeypatch.setattr(attachments, "PDF_S", 0.001)
    with pytest.raises(CodecError, match="longer than"):
        attachments.text(pdf_of([LINES]))


def test_letters_that_a_font_does_not_name_are_no_text():
    with pytest.raises(pdf.UnreadableError, match="font"):
        pdf._refuse_unknown_letters("See \ue001\ue002 in 2 weeks")


def test_what_pypdf_mends_with_a_loss_is_no_text():
    # Page two refers to a content that is not there.
    content = pdf_of([LINES, LINES]).replace(b"/Contents 6 0 R", b"/Contents 99 0 R")
    with pytest.raises(pdf.UnreadableError, match="broken"):
        pdf.text(content)
