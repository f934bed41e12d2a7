import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.codecs import CodecError, er7

HEAD = r"MSH|^~\&|RIS|GENHOSP|AIAPP|GENHOSP|20261101083000-0500||ORU^R01^ORU_R01|M-1|P|2.5.1"
REPORT = "OBX|1|FT|18748-4^Report^LN|1|{}||||||F"


def message(text: str = "no change", end: str = "\r", charset: str = "", encoding: str = "utf-8") -> bytes:
    lines = [HEAD + "||||||" + charset, "PID|1||MRN88^^^GENHOSP", "OBR|1||FL1^RIS", REPORT.format(text)]
    return "".join(line + end for line in lines).encode(encoding)


def text_of(body: bytes) -> str:
    read = er7.read(body)
    return read.text(read.first("OBX"), 5)


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n", "\r\r", "\r\n\r\n"])
def test_segments_may_end_in_any_line_end(end):
    read = er7.read(message(end=end))
    assert [s.name for s in read.segments] == ["MSH", "PID", "OBR", "OBX"]
    assert read.serialise() == message(end=end)


def test_a_byte_order_mark_and_line_ends_before_msh_are_passed_over():
    body = er7.BOM + b"\r\n" + message("Müller")
    assert text_of(body) == "Müller"
    assert er7.read(body).serialise() == body


def test_fields_are_counted_as_the_standard_counts_them():
    read = er7.read(message())
    assert (read.field("MSH", 1), read.field("MSH", 3), read.control_id) == ("", "RIS", "M-1")
    assert (read.sender, read.event) == ("RIS|GENHOSP", ("ORU", "R01"))
    assert read.value(read.first("PID"), 3, 4) == "GENHOSP"
    assert (read.field("PID", 99), read.field("ZZZ", 1)) == ("", "")


def test_separators_are_those_that_the_message_declares():
    body = b"MSH#*!?%#RIS#GENHOSP#####ORU*R01#M?F?1\rOBX#1#FT##1#a*b!c?S?d?R?######F\r"
    read = er7.read(body)
    assert (read.event, read.control_id) == (("ORU", "R01"), "M#1")
    assert read.text(read.first("OBX"), 5) == "a*b\nc*d!"


@pytest.mark.parametrize(
    "body", [b"", b"\r\n", b"GET / HTTP/1.1\r\n\r\n", b"MSH", b"MSH|", b"\xff\xfeM\x00S\x00H\x00", b" MSH|^~\\&|"]
)
def test_what_does_not_begin_with_msh_is_refused(body):
    with pytest.raises(CodecError):
        er7.read(body)


@pytest.mark.parametrize("declared", [r"|^~\ ", r"|^~", r"|^^\&", r"|^~\&#+", "aB~\\&", "\x01^~\\&", "é^~\\&"])
def test_separators_that_cannot_separate_are_refused(declared):
    body = f"MSH{declared}|A|B||||||M-1".replace("|", declared[0]).encode()
    with pytest.raises(CodecError):
        er7.read(body)


def test_a_line_end_inside_of_a_text_does_not_cut_it():
    assert text_of(message("first\nsecond\n\nthird")) == "first\nsecond\n\nthird"
    assert text_of(message("first\r\nPLAN: second", end="\n")) == "first\nPLAN: second"


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        (r"a\F\b\S\c\T\d\R\e\E\f", r"a|b^c&d~e\f"),
        (r"one\.br\two\.BR\three", "one\ntwo\nthree"),
        (r"one\.sp2\two\.ce\three\.in+4\\.ti-2\\.fi\ four", "one\n\ntwo\nthree four"),
        (r"\H\bold\N\ plain", "bold plain"),
        (r"\X41\\XC3A9\ \X0D0A\ end", "Aé \n end"),
        ("3 ^ 4 & 5 mm ~ unchanged", "3 ^ 4 & 5 mm \n unchanged"),
        (r"odd \Zodd\ \C2842\ lone \ backslash \F", r"odd \Zodd\ \C2842\ lone \ backslash \F"),
        (r"not hex \X4\ \XG1\ not text \XFF\ ", r"not hex \X4\ \XG1\ not text \XFF\ "),
        (r"a lone \ before \T\ counts", "a lone \\ before & counts"),
        ("a\x00b\x0cc\td", "abc\td"),
    ],
)
def test_escapes_mean_what_the_standard_says_and_unknown_ones_stay(sent, meant):
    assert text_of(message(sent)) == meant


def test_no_escape_makes_a_text_without_end():
    assert len(text_of(message(r"\.sp9999\\.sk9999\x"))) == 99 + 99 + 1


@pytest.mark.parametrize(
    ("charset", "encoding"),
    [("", "utf-8"), ("UNICODE UTF-8", "utf-8"), ("8859/1", "latin-1"), ("8859/15", "iso8859_15"), ("8859/1~UNICODE", "latin-1")],
)
def test_text_is_decoded_as_msh_18_declares(charset, encoding):
    assert text_of(message("Température 38,5 °C", charset=charset, encoding=encoding)) == "Température 38,5 °C"
    assert er7.read(message("Température", charset=charset, encoding=encoding)).warnings == ()


@pytest.mark.parametrize("charset", ["", "8859/1"])
def test_windows_characters_are_read_as_such_with_a_warning(charset):
    read = er7.read(message("“Café” – 5 €", charset=charset, encoding="cp1252"))
    assert (read.encoding, len(read.warnings)) == ("cp1252", 1)
    assert read.text(read.first("OBX"), 5) == "“Café” – 5 €"


@pytest.mark.parametrize(
    ("charset", "encoding"),
    [("8859/1", "utf-8"), ("ASCII", "utf-8"), ("ASCII", "latin-1"), ("UNICODE UTF-8", "latin-1"), ("ISO IR87", "utf-8")],
)
def test_bytes_that_contradict_their_declaration_are_held(charset, encoding):
    with pytest.raises(CodecError, match=r"MSH-18|bytes that ascii") as caught:
        er7.read(message("Müller", charset=charset, encoding=encoding))
    assert "ller" not in str(caught.value)


def test_a_declaration_nobody_knows_does_no_harm_to_plain_ascii():
    assert text_of(message("plain", charset="ISO IR87")) == "plain"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"FHS|^~\\&|RIS\rBHS|^~\\&|RIS\r" + message(), "batch"),
        (b"BHS|^~\\&|RIS\r" + message(), "batch"),
        (message() + message(), "two messages"),
        (message() + b"DSC|123|I\r", "longer message"),
        (message() + b"ADD|rest\r", "longer message"),
        (HEAD.encode() + b"||123\rPID|1\r", "longer message"),
        (HEAD.replace("M-1", "").encode() + b"\rPID|1\r", "MSH-10"),
        (message()[:-3].rstrip(b"|F"), "cut off"),
        (message()[:-12], "cut off"),
    ],
)
def test_what_is_not_one_whole_message_is_refused_with_its_reason(body, reason):
    with pytest.raises(CodecError, match=reason) as caught:
        er7.read(body)
    assert caught.value.condition in {"100", "101", "200"}


def test_a_sender_may_leave_out_the_last_segment_end():
    assert text_of(message().rstrip(b"\r")) == "no change"


FRAGMENTS = "MSH | ^~\\& OBX|1|FT| PID| BHS| \\X \\.br\\ \\F\\ \\ ~ é 8859/1".encode().split()
WHOLE = [HEAD.encode(), message(), message("é", charset="8859/1"), message("é", charset="8859/1", encoding="latin-1")]
PIECES = st.sampled_from([*FRAGMENTS, *WHOLE, b"\r", b"\n", b"\r\n", b"\xe9", b"\x9d", b"\x00", b"UNICODE UTF-8", er7.BOM])
BODIES = st.one_of(st.binary(max_size=200), st.lists(st.one_of(PIECES, st.binary(max_size=3)), max_size=12).map(b"".join))


@given(BODIES, st.booleans())
def test_whatever_comes_is_read_without_loss_or_refused(body, is_headed):
    body = HEAD.encode() + body if is_headed else body
    try:
        read = er7.read(body)
    except CodecError:
        return
    assert read.serialise() == body
    assert read.body == body
    for segment in read.segments:
        for number in range(1, 13):
            assert "\r" not in read.text(segment, number)
            read.value(segment, number, 4)


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=60))
def test_escaped_text_comes_back_as_it_was(text):
    escapes = {"\\": "\\E\\", "|": "\\F\\", "^": "\\S\\", "&": "\\T\\", "~": "\\R\\"}
    assert text_of(message("".join(escapes.get(c, c) for c in text))) == text
