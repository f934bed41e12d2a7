"""Batches of HL7 v2 messages, taken apart byte for byte."""

import pytest

from integrations.codecs import CodecError, er7
from integrations.codecs.batch import split

FHS, BHS = b"FHS|^~\\&|RIS\r", b"BHS|^~\\&|RIS\r"
ONE, TWO = (b"MSH|^~\\&|RIS|H|||||ORU^R01|%s|P|2.5\rOBX|1|TX|||A BTS| in a line\r" % name for name in (b"M-1", b"M-2"))


@pytest.mark.parametrize(
    "body",
    [
        FHS + BHS + ONE + TWO + b"BTS|2\rFTS|1\r",
        BHS + ONE + TWO + b"BTS|2\r",
        BHS + ONE + TWO + b"BTS\r",
        BHS + ONE + TWO + b"BTS|2|all of them",
        FHS + BHS + ONE + b"BTS|1\r" + BHS + TWO + b"BTS|1\rFTS|2\r",
        FHS + ONE + TWO + b"FTS\r",
        er7.BOM + b"\r\n" + BHS + ONE + TWO + b"BTS||comment\r",
    ],
)
def test_a_batch_is_its_messages(body):
    assert split(body) == [ONE, TWO]


def test_a_batch_may_end_its_lines_as_it_likes():
    body = (BHS + ONE + TWO + b"BTS|2\r").replace(b"\r", b"\r\n")
    assert split(body) == [ONE.replace(b"\r", b"\r\n"), TWO.replace(b"\r", b"\r\n")]


@pytest.mark.parametrize(
    ("body", "n"),
    [
        (BHS + ONE + TWO + b"BTS|3\r", 2),
        (FHS + BHS + ONE + b"BTS|1\rFTS|2\r", 1),
        (BHS + ONE + TWO, 2),
        (FHS + BHS + ONE + b"BTS|1\r", 1),
        (BHS + ONE + b"FTS|1\r", 1),
        (BHS + b"BTS|0\r", 0),
        (BHS, 0),
    ],
)
def test_a_batch_that_does_not_hold_what_it_counts_gives_its_messages_and_itself(body, n):
    *messages, envelope = split(body)
    assert messages == [ONE, TWO][:n]
    assert b"MSH" not in envelope
    with pytest.raises(CodecError, match="batch"):
        er7.read(envelope)


@pytest.mark.parametrize("body", [ONE, b"", b"FHS", b"GET /", ONE + TWO, b"\x00" * 9])
def test_what_is_no_batch_stays_as_it_is(body):
    assert b"".join(split(body)) == body
