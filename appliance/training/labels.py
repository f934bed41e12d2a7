"""Labelled notes as training sees them: whose they are without a record number, and what a bundle remembers of them."""

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from appliance.corpus_building import group_of
from appliance.home import Home
from appliance.training.request import Request
from pretrain import splits
from pretrain.corpus import Corpus
from pretrain.evaluation import hold_out
from pretrain.labelling import votes
from pretrain.labelling.questions import Report
from pretrain.splits import Labels, Split
from pretrain.tasks import clip
from pretrain.tasks.base import LabelledNote

KEPT_OUT = "kept_out.json"
"""In a finetuned bundle: hashes of the texts that its base was kept away from."""
SEEN = "seen.json"
"""In a bundle: hashes of the texts it was taught or chosen with. In a base: of the texts it was kept away from."""

READ_BY_RULES = 4_000
"""Documents of a corpus: a minute's work."""
TAUGHT_BY_RULES = 500
"""Notes at most that rules label: more would teach little else, and finetuning takes as long as there are notes."""


ASKED_ABOUT = 400
"""Reports at most that questions are made about: nine each, two minutes of a small model on two cores."""


def read(home: Home, task: str, path: Path) -> Labels:
    """The labels at a path; whose CLIP notes are is told by the same keyed hashes that the corpus has.

    Raises:
        DataError: as `pretrain.splits.read`.
    """
    labels = splits.read(task, path)
    if task != "clip":
        return labels
    split = labels.published
    parts = None if split is None else Split(keyed(home, split.train), keyed(home, split.dev), keyed(home, split.test))
    return Labels(keyed(home, labels.examples), parts)


def read_all(home: Home, request: Request) -> dict[str, Labels]:
    """The labels that `train` was given, by task. Raises as `read`."""
    paths = {"clip": request.clip, "radqa": request.radqa, "mednli": request.mednli}
    return {task: read(home, task, path) for task, path in paths.items() if path is not None}


def divided(labels: Labels, share: float, seed: int) -> tuple[list[Any], list[Any], list[Any]]:
    """To learn from, to choose with and to measure on: as published, else by patient, `share` and then `share` of the rest."""
    if labels.published:
        return labels.published.train, labels.published.dev, labels.published.test
    rest, measured = hold_out(labels.examples, share, seed)
    taught, dev = hold_out(rest, share, seed + 1)
    return taught, dev, measured


def keyed(home: Home, labelled: Iterable[LabelledNote]) -> list[LabelledNote]:
    """The notes, whose they are told by the same keyed hashes that the corpus has."""
    key = home.group_key.read_bytes()
    return [replace(note, group=group_of(key, note.group)) for note in labelled]


def labelled_by_rules(corpus: Corpus, seed: int) -> list[LabelledNote]:
    """Documents of a corpus in which the follow-up rules find something, labelled by them, for lack of a person's labels."""
    notes = []
    for document in corpus.drawn(READ_BY_RULES, seed):
        sentences = clip.sentences_of(document.text)
        said_SL = votes(document.text, sentences)
        if said_SL.any():
            labels = tuple(frozenset(clip.LABELS[label] for label in row.nonzero()[0]) for row in said_SL)
            notes.append(LabelledNote(document.document_id, document.text, sentences, labels, document.group))
    return [notes[i] for i in np.random.default_rng(seed).permutation(len(notes))[:TAUGHT_BY_RULES]]


def reports_to_ask_about(corpus: Corpus, seed: int) -> list[Report]:
    """Radiology reports of a corpus, for questions made by rule."""
    found = [
        Report(document.document_id, document.text, document.group)
        for document in corpus.drawn(READ_BY_RULES, seed)
        if document.kind == "radiology_report"
    ]
    return [found[i] for i in np.random.default_rng(seed).permutation(len(found))[:ASKED_ABOUT]]


def digest(text: str) -> str:
    """Names a text without telling it. Only letters and digits count: the same note comes in more than one layout of labels."""
    return hashlib.sha256("".join(filter(str.isalnum, text)).encode("utf-8", "replace")).hexdigest()
