"""The vocabulary beside another: measured on what is held out, and a folder without one is told before the export is read."""

from pathlib import Path

import pytest

from appliance.home import Home
from appliance.training import planning, story, vocabulary
from appliance.training.request import Request, TrainingError
from appliance.training.settings import TrainingConfig
from pretrain.tokenizer import train
from tests.quiet_watch import Quiet


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.init()
    return home


def test_nothing_is_compared_with_by_default() -> None:
    assert vocabulary.to_compare_with(TrainingConfig()) == {}


def test_both_are_measured_on_the_same_held_out_notes(home: Home, tmp_path: Path) -> None:
    words = "the patient was seen on the ward and did well with breathing exercises every morning on day"
    lines = [f'{{"note_id": "n{n}", "patient_id": "p{n}", "text": "{words} {n} of {n * n} at bed {n * 7}"}}' for n in range(300)]
    (tmp_path / "notes.jsonl").write_text("\n".join(lines))
    (tmp_path / "a-t5").mkdir()
    train(["quite another text", "about something else"] * 9, 256).save(tmp_path / "a-t5" / "tokenizer.json")
    asked = Request(tmp_path / "notes.jsonl", None, "q", "mini", None, 1)
    corpus = story.read_corpus(home, story.load(home), asked, [], [], home.corpora / "q", Quiet())
    own = train(corpus.sample(10**6), 512)
    ours, theirs = vocabulary.fertility(corpus, own, TrainingConfig(compare_tokenizer=tmp_path / "a-t5"))
    assert (ours.vocabulary, theirs.vocabulary) == ("this model's", "a-t5")
    assert ours.tokens_per_word < theirs.tokens_per_word
    texts = [document.text for document in corpus.dev]
    assert ours.tokens_per_word == sum(map(len, own.ids(texts))) / sum(len(text.split()) for text in texts)


def test_a_folder_without_a_vocabulary_is_told_before_the_export_is_read(home: Home, tmp_path: Path) -> None:
    home.config.write_text(f'[training]\ncompare_tokenizer = "{tmp_path}"\n')
    asked = Request(tmp_path / "no export", None, "q", "mini", None, 1)
    for begin in (story.train, planning.plan):
        with pytest.raises(TrainingError, match=f"compare_tokenizer: {tmp_path}: tokenizer.json: .*or none"):
            begin(home, asked, Quiet())
    assert list(home.corpora.iterdir()) == []
