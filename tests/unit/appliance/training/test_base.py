"""What pretraining learns from beside the notes."""

from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from appliance.config import AppConfig
from appliance.demo.note_writer import write_export
from appliance.home import Home
from appliance.training import base, story
from appliance.training.request import Request
from appliance.training.settings import TrainingConfig
from pretrain.budget import Budget, Schedule
from pretrain.corpus import Corpus
from pretrain.leakage import Canaries
from pretrain.models.families import new_t5, save_t5
from pretrain.pretraining import CONTINUED, NEW, history
from pretrain.shards import load
from pretrain.tokenizer import Tokenizer
from tests.quiet_watch import Quiet


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Request:
    notes = write_export(tmp_path_factory.mktemp("export"), 60, 1, labelled=5).notes
    return Request(notes, None, "q", "mini", None, 1)


@pytest.fixture(scope="module")
def corpus(asked: Request, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    home = Home(tmp_path_factory.mktemp("home"))
    home.init()
    return story.read_corpus(home, AppConfig(), asked, [], [], home.corpora / "q", Quiet())


@pytest.fixture(scope="module")
def tokenizer(asked: Request, corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return base._tokenizer(asked, TrainingConfig(), corpus, tmp_path_factory.mktemp("work"), Quiet())


def test_every_planted_secret_stands_in_the_training_shard_and_none_in_the_other(
    asked: Request, corpus: Corpus, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    canaries = Canaries.plan(asked.seed)
    learned = base._shards(asked, corpus, canaries, tokenizer, tmp_path, Quiet())
    held_out = load(tmp_path / base.DEV)
    assert len(learned) == len(corpus.train) + 90
    assert len(held_out) == len(corpus.dev)
    ids = learned.tokens.tolist()
    for document in canaries.documents():
        planted = next(tokenizer.ids([document.text])).tolist()
        assert any(ids[at : at + len(planted)] == planted for at in np.flatnonzero(np.array(ids) == planted[0]))


def test_a_run_that_goes_on_keeps_its_vocabulary(asked: Request, corpus: Corpus, tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path / "tokenizer.json")
    again = base._tokenizer(replace(asked, resume=True), TrainingConfig(vocabulary=2048, cased=False), corpus, tmp_path, Quiet())
    assert again.fingerprint == tokenizer.fingerprint


def test_a_vocabulary_without_case_is_learnt_where_the_settings_say_so(asked: Request, corpus: Corpus, tmp_path: Path) -> None:
    uncased = base._tokenizer(asked, TrainingConfig(cased=False), corpus, tmp_path, Quiet())
    assert uncased.encode("DISCHARGE").ids.tolist() == uncased.encode("discharge").ids.tolist()


@pytest.mark.parametrize("schedule", get_args(Schedule))
@pytest.mark.parametrize("goes_on", [False, True])
def test_the_rate_falls_as_the_settings_say_from_where_the_kind_of_training_begins(
    asked: Request, corpus: Corpus, tokenizer: Tokenizer, tmp_path: Path, schedule: Schedule, goes_on: bool
) -> None:
    base._shards(asked, corpus, Canaries.plan(0), tokenizer, tmp_path, Quiet())
    if goes_on:
        save_t5(new_t5("mini", tokenizer.vocab_size, 0), tmp_path)
        asked = replace(asked, begin_from=tmp_path)
    base._learn(asked, schedule, tokenizer, tmp_path, Budget(steps=2), lambda report: None, Quiet())
    expected = replace(CONTINUED if goes_on else NEW, schedule=schedule).rate(0.5)
    assert history(tmp_path)[-1]["learning_rate"] == pytest.approx(expected)
