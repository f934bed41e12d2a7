"""A note becomes findings: one per label, or one per question."""

from datetime import UTC, datetime

import pytest

from appliance.reading import ReportReader, TaggerReader
from integrations.records import ModelVersion, Note, NoteKind
from pretrain.tasks.base import TaggedSpan
from serving.compilation import compile_bundle
from serving.predictor import Reader, Tagged
from tests import tiny_bundle

MODEL = ModelVersion("r", "1", "0" * 64)
AT = datetime(2026, 1, 1, tzinfo=UTC)
ASKED = ["Is there a pleural effusion?", "Is there a zebra?"]
TEXT = "INDICATION: zebra, rule out pleural effusion.\n\nFINDINGS: There is a small pleural effusion. No fracture."
REPORT = Note("n", NoteKind.RADIOLOGY_REPORT, TEXT)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return tiny_bundle.write_reader(tmp_path_factory.mktemp("bundle") / "r")


@pytest.fixture(scope="module")
def predictor(bundle, tmp_path_factory):
    engine = compile_bundle(bundle, tmp_path_factory.mktemp("artifact") / "r", "onnxruntime").open()
    return Reader(bundle, engine)


@pytest.fixture
def reader(predictor):
    return ReportReader(predictor, MODEL, lambda note: ASKED, lambda: AT)


def test_each_question_becomes_one_finding_that_quotes_the_report_or_says_that_it_does_not_answer(reader):
    answered, unanswered = reader.read(REPORT).findings
    assert (answered.question, answered.label, answered.quote) == (ASKED[0], "", "There is a small pleural effusion")
    assert TEXT[answered.start : answered.end] == answered.quote
    assert answered.start > TEXT.index("FINDINGS"), "the indication is no answer"
    assert (unanswered.question, unanswered.quote, unanswered.start, unanswered.end) == (ASKED[1], "", 0, 0)
    assert {f.at for f in (answered, unanswered)} == {AT}
    assert all(0.5 <= f.score <= 1 for f in (answered, unanswered)), "confidence in what was said, be it that there is no answer"


def test_reading_twice_finds_the_same_and_each_question_is_a_finding_of_its_own(predictor):
    reader = ReportReader(predictor, MODEL, lambda note: ["Is there a zebra?", "Is there a lion?"], lambda: AT)
    first, second = reader.read(REPORT), reader.read(REPORT)
    assert first == second
    assert len({f.finding_id for f in first.findings}) == 2


def test_a_report_that_is_asked_nothing_finds_nothing(predictor):
    assert ReportReader(predictor, MODEL, lambda note: []).read(REPORT).findings == []


def test_what_scores_less_than_was_measured_to_be_right_is_marked_unsure(predictor):
    whole, half = ["Is there a pleural effusion?", "Is there a calcified pleural effusion?"]
    found = ReportReader(predictor, MODEL, lambda note: [whole, half]).read(REPORT).findings
    assert [(bool(f.quote), f.unsure) for f in found] == [(True, False), (True, True)]


class Sure:
    """A tagger of one sentence, sure from 0.8 on."""

    def tag(self, texts):
        return [Tagged(1, [TaggedSpan(0, 4, "Lab", 0.9), TaggedSpan(0, 4, "Other", 0.7)]) for _ in texts]

    def is_sure(self, score):
        return score >= 0.8


def test_a_tag_says_too_whether_its_model_is_sure():
    found = TaggerReader(Sure(), MODEL).read(Note("n", NoteKind.DISCHARGE_SUMMARY, "INR."))
    assert [(f.label, f.unsure) for f in found.findings] == [("Lab", False), ("Other", True)]


def test_confidence_is_even_at_the_cut_off_and_certain_far_from_it(predictor):
    said = [predictor.answers(["x"], text)[0] for text in ("", TEXT)]
    assert predictor.confidence(said[0]) == 1.0, "a report without a word answers nothing"
    assert 0.5 <= predictor.confidence(said[1]) < 1
