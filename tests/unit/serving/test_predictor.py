"""Texts become tagged spans, and questions answers, the same way however they are batched."""

import pytest

from pretrain.bundle import BundleError
from serving.compilation import compile_bundle
from serving.predictor import LENGTHS, Reader, Tagger
from tests import tiny_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return tiny_bundle.write(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture(scope="module")
def engine(bundle, tmp_path_factory):
    return compile_bundle(bundle, tmp_path_factory.mktemp("artifact") / "tiny", "onnxruntime").open()


class Counting:
    """An engine that remembers the shapes it was asked."""

    def __init__(self, engine):
        self.engine, self.shapes = engine, []

    def run(self, inputs):
        self.shapes.append(inputs["input_ids"].shape)
        return self.engine.run(inputs)

    def close(self):
        pass


def test_every_span_is_a_sentence_of_its_own_text(bundle, engine):
    tagged = Tagger(bundle, engine).tag(tiny_bundle.TEXTS)
    assert [one.n_sentences for one in tagged] == [2, 2]
    assert any(one.spans for one in tagged)
    for text, one in zip(tiny_bundle.TEXTS, tagged, strict=True):
        for span in one.spans:
            assert text[span.start : span.end].endswith(".")
            assert 0.5 <= span.score <= 1


def test_a_text_is_tagged_alike_alone_and_among_others(bundle, engine):
    texts = [tiny_bundle.TEXTS[0], "", tiny_bundle.TEXTS[1] * 40, "x"]
    together = Tagger(bundle, engine).tag(texts)
    for text, tagged in zip(texts, together, strict=True):
        alone = Tagger(bundle, engine, tokens_per_batch=1).tag([text])[0]
        assert tagged.n_sentences == alone.n_sentences
        assert [(s.start, s.end, s.label) for s in tagged.spans] == [(s.start, s.end, s.label) for s in alone.spans]
        assert [s.score for s in tagged.spans] == pytest.approx([s.score for s in alone.spans], abs=1e-5)


def test_a_batch_stays_within_its_budget_of_tokens(bundle, engine):
    counting = Counting(engine)
    Tagger(bundle, counting, tokens_per_batch=64).tag([text * 20 for text in tiny_bundle.TEXTS])
    assert len(counting.shapes) > 1
    assert all(windows * (tokens - LENGTHS + 1) <= 64 for windows, tokens in counting.shapes)
    assert max(windows for windows, _ in counting.shapes) >= 2


def test_the_engine_is_asked_few_lengths_and_none_beyond_the_window_of_the_model(bundle, engine):
    counting = Counting(engine)
    texts = [" ".join(["aspirin"] * words) for words in range(1, 60)]
    Tagger(bundle, counting, tokens_per_batch=1).tag(texts)
    longest = bundle.manifest.window_tokens
    assert max(tokens for _, tokens in counting.shapes) <= longest
    assert {tokens for _, tokens in counting.shapes} <= {*range(LENGTHS, longest, LENGTHS), longest}


def test_no_texts_ask_the_engine_nothing(bundle, engine):
    counting = Counting(engine)
    assert Tagger(bundle, counting).tag([]) == []
    assert Tagger(bundle, counting).tag([""])[0].n_sentences == 0
    assert counting.shapes == []


def test_a_bundle_for_another_task_is_refused(engine, tmp_path):
    other = tiny_bundle.write(tmp_path / "tiny", task="radqa")
    with pytest.raises(BundleError, match="tiny@1 is a model for radqa"):
        Tagger(other, engine)


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reader")
    bundle = tiny_bundle.write(folder / "tiny", task="radqa")
    return bundle, compile_bundle(bundle, folder / "artifact", "onnxruntime").open()


def test_an_answer_is_the_same_however_its_windows_are_batched_and_a_stretch_of_the_report(reader):
    report = " ".join(tiny_bundle.TEXTS) * 30
    answers = [Reader(*reader, tokens_per_batch=tokens).answer("When is the clinic?", report) for tokens in (1, 4096)]
    assert answers[0].span == answers[1].span
    assert answers[0].score == pytest.approx(answers[1].score, abs=1e-4)
    assert answers[0].span is None or report[answers[0].span.start : answers[0].span.end].strip()


def test_a_report_without_a_word_answers_nothing(reader):
    assert Reader(*reader).answer("When is the clinic?", " \n").span is None


def test_a_tagger_cannot_be_asked(bundle, engine):
    with pytest.raises(BundleError, match="tiny@1 is a model for clip; answering needs one for radqa"):
        Reader(bundle, engine)
