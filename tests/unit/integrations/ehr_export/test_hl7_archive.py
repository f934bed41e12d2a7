from pathlib import Path

import pytest

from integrations.records import Identifier, NoteKind

SAMPLES = Path(__file__).parents[5] / "shared/samples/hl7"


def message(number, text, end="\r"):
    return (
        f"MSH|^~\\&|RIS|H|A|B|20261101083000-0500||ORU^R01|{number}|P|2.5.1||||||UNICODE UTF-8\r"
        f"PID|1||{number}^^^H^MR\rOBR|1||F{number}|18748-4^Report^LN\rOBX|1|TX|18748-4^Report^LN||{text}||||||F{end}"
    )


def test_messages_are_read_as_the_listener_reads_them(read_one):
    (note,), drops, _ = read_one("n.hl7", message(1, "CT \\T\\ more"))
    assert (note.text, note.kind, note.patient) == ("CT & more", NoteKind.RADIOLOGY_REPORT, Identifier("1", "H"))
    assert (note.source.sender, note.written_at.isoformat(), drops) == ("RIS|H", "2026-11-01T08:30:00-05:00", {})


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", ""),
        ("", "\n"),
        ("\x0b", "\x1c\r"),
        ("\n\ufeff", "\r\n"),
        ("FHS|^~\\&|R\rBHS|^~\\&|R\r", "BTS|1\rFTS|1\r"),
        ("x", "y"),
    ],
)
def test_messages_are_told_apart_however_they_are_framed(read_one, before, after):
    archive = "".join(before + message(n, f"report {n}") + after for n in range(3))
    notes, drops, _ = read_one("n.hl7", archive)
    assert [(n.text, n.patient.value) for n in notes if n.patient] == [(f"report {n}", str(n)) for n in range(3)]
    assert sum(drops.values()) == (before == "x")  # What stands before the first message belongs to none.


def test_a_frame_that_ends_shows_that_the_message_is_whole(read_one):
    notes, drops, _ = read_one("n.hl7", "\x0b" + message(1, "one", end="") + "\x1c\r" + message(2, "cut off")[:-8])
    assert [n.text for n in notes] == ["one"]
    (reason,) = drops
    assert reason.startswith("an HL7 message that cannot be read: cut off")


def test_a_message_without_a_report_is_counted_by_its_type(read_one):
    archive = message(1, "one") + message(2, "two").replace("ORU^R01", "ADT^A01")
    notes, drops, _ = read_one("n.hl7", archive)
    assert ([n.text for n in notes], drops) == (["one"], {"an HL7 message without a note: ADT^A01 carries no report": 1})


def test_a_message_across_blocks_is_one_and_one_too_long_is_left_out(read_one, monkeypatch):
    monkeypatch.setattr("integrations.ehr_export.opening.MAX_BYTES", 1000)
    monkeypatch.setattr("integrations.ehr_export.opening.BLOCK_BYTES", 7)
    archive = message(1, "one " * 50) + message(2, "two " * 500) + message(3, "three")
    notes, drops, _ = read_one("n.hl7", archive)
    assert [n.patient.value for n in notes] == ["1", "3"]
    assert drops == {"an HL7 message larger than 64 MB": 1}


@pytest.mark.skipif(not SAMPLES.is_dir(), reason=f"no samples in {SAMPLES}")
def test_the_sample_messages_all_count(read_one):
    files = sorted(path.read_bytes() for path in SAMPLES.iterdir())
    notes, drops, _ = read_one("n.hl7", b"\r\n".join(files))
    # Two in the batch, four in the pipeline, none in what is no HL7; that hangs on the message before it.
    assert len(notes) + sum(drops.values()) == len(files) + 1 + 3 - 1
    assert len(notes) >= 15
