"""Ways to tag follow-up from few labels, on the same notes and folds, each note by a tagger that has not seen it.

    python tests/benchmarks/follow_up.py --labels gold.jsonl --encoder /models/MiniLM --seeds 5 --json

Rules count as not having seen a note only where their authors had not: `--votes` takes what such rules said, one JSON object per
note: {"note_id", "labels": [[...] per sentence]}. Without it the product's own rules are asked, which flatters them on notes that
they were written with. Cut-offs, calibration and vocabularies are chosen on the notes of the other folds. No CLIP scores.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[2]))  # started as a script, it finds its own folder only

from pretrain import judging, labelling
from pretrain.evaluation import folds
from pretrain.finetuning import cross_fitting
from pretrain.judging import calibrated
from pretrain.labelling.weighing import SILENT, VOTED
from pretrain.tasks import clip
from pretrain.tasks.base import LabelledNote, TaggedSpan
from pretrain.text import Span

FOLDS = 5
Way = Callable[[Sequence[LabelledNote], int], tuple[list[list[TaggedSpan]], dict[str, Any]]]


def blind(path: Path, notes: Sequence[LabelledNote]) -> Callable[[str, Sequence[Span]], NDArray[np.float32]]:
    """`labelling.evidence` of votes from a file."""
    labels = {row["note_id"]: row["labels"] for row in map(json.loads, path.read_text(encoding="utf-8").splitlines())}
    votes = {note.text: np.array([[name in said for name in clip.LABELS] for said in labels[note.note_id]]) for note in notes}
    return lambda text, sentences: np.where(votes[text].reshape(len(sentences), -1), VOTED, SILENT).astype(np.float32)


def rules_alone(notes: Sequence[LabelledNote], seed: int) -> tuple[list[list[TaggedSpan]], dict[str, Any]]:
    """Whatever got a vote."""
    half = np.full(len(clip.LABELS), 0.5, np.float32)
    said = [clip.scores(cross_fitting.evidence(note.text, note.sentences)) for note in notes]
    return [clip.tagged(score_SL, note.sentences, half) for score_SL, note in zip(said, notes, strict=True)], {}


def tfidf(notes: Sequence[LabelledNote], seed: int) -> tuple[list[list[TaggedSpan]], dict[str, Any]]:
    """Logistic regression on the words of a sentence."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    texts = [[note.text[s.start : s.end] for s in note.sentences] for note in notes]
    truth = [clip.truth(note) for note in notes]

    def logits(taught: Sequence[int], asked: Sequence[int]) -> list[NDArray[np.float32]]:
        words = TfidfVectorizer(sublinear_tf=True)
        seen, truth_SL = words.fit_transform([t for i in taught for t in texts[i]]), np.concatenate([truth[i] for i in taught])
        models = [
            LogisticRegression(C=10, class_weight="balanced", max_iter=500).fit(seen, y) if y.any() else None for y in truth_SL.T
        ]
        new = [words.transform(texts[i]) for i in asked]
        return [np.stack([np.full(n.shape[0], -9.0) if m is None else m.decision_function(n) for m in models], 1) for n in new]

    predicted: list[list[TaggedSpan]] = [[] for _ in notes]
    for part in folds(notes, FOLDS, seed):
        others = sorted(set(range(len(notes))) - set(part))
        inner: dict[int, NDArray[np.float32]] = {}
        for held in np.array_split(np.random.default_rng(seed).permutation(others), 4):
            inner |= zip(held.tolist(), logits(sorted(set(others) - set(held.tolist())), held.tolist()), strict=True)
        judge = calibrated(np.concatenate([truth[i] for i in inner]), np.concatenate(list(inner.values())), None)
        for i, logits_SL in zip(part, logits(others, part), strict=True):
            predicted[i] = clip.tagged(judge.weighed(logits_SL, None), notes[i].sentences, judge.cutoffs)
    return predicted, {}


def finetuned(encoder: Path, rules: bool, steps: int) -> Way:
    """An encoder as `finetune clip` teaches it, beside the rules or alone."""
    from pretrain.budget import Budget
    from pretrain.finetuning.clip import finetune_clip
    from pretrain.tokenizer import Tokenizer

    tokenizer = Tokenizer.load(encoder / "tokenizer.json")

    def way(notes: Sequence[LabelledNote], seed: int) -> tuple[list[list[TaggedSpan]], dict[str, Any]]:
        kept = SimpleNamespace()

        def keep(gold: Sequence[LabelledNote], spans: list[list[TaggedSpan]], *more: Any) -> dict[str, Any]:
            kept.spans = spans
            return real(gold, spans, *more)

        real = clip.score
        with patch.object(clip, "score", keep):
            fitted = cross_fitting.cross_fit(
                notes,
                tokenizer,
                lambda some: finetune_clip(
                    some, [], tokenizer, encoder=encoder, budget=Budget(steps=steps), rules=rules, seed=seed
                ),
                folds=FOLDS,
                seed=seed,
            )
        return kept.spans, {"ece": fitted.metrics["calibration"]["ece"]}

    return way


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=Path, required=True, help="labelled notes (.jsonl)")
    parser.add_argument(
        "--encoder", type=Path, help="folder of a pretrained encoder; without it only what needs none is measured"
    )
    parser.add_argument("--votes", type=Path, help="of rules whose authors had not seen the notes (.jsonl)")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=30, help="of each finetuning")
    parser.add_argument("--only", help="the ways whose names hold this, beside the rules alone that all are compared with")
    parser.add_argument("--json", action="store_true", help="JSON objects alone")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    notes = clip.read(options.labels)
    ways: dict[str, Way] = {"rules alone": rules_alone, "TF-IDF with logistic regression": tfidf}
    if options.encoder:
        name = options.encoder.name
        ways[f"{name}, {options.steps} steps"] = finetuned(options.encoder, False, options.steps)
        ways[f"{name}, {options.steps} steps, beside the rules"] = finetuned(options.encoder, True, options.steps)
    ways = {name: way for name, way in ways.items() if name == "rules alone" or (options.only or "") in name}
    evidence = blind(options.votes, notes) if options.votes else labelling.evidence
    from pretrain.finetuning import clip as clip_finetuning

    with (
        patch.object(clip_finetuning, "evidence", evidence),
        patch.object(cross_fitting, "evidence", evidence),
        patch.object(judging, "evidence", evidence),
    ):
        runs = {}
        for name, way in ways.items():
            runs[name] = [way(notes, seed)[0] for seed in range(1 if way is rules_alone else options.seeds)]
            result = clip.compare(notes, runs[name], runs["rules alone"])
            scores = [clip.score(notes, run) for run in runs[name]]
            for metric in ("micro_f1", "macro_f1", "binary_f1"):
                low, high = result[metric]["ci95"]
                own = np.mean([score["ci95"][metric] for score in scores], axis=0)
                line = {
                    "bench": "follow_up",
                    "variant": name,
                    "metric": metric,
                    "value": result[metric]["ours"],
                    "ci95": own.tolist(),
                    "baseline": result[metric]["theirs"],
                    "n": len(notes),
                    "note": f"{len(runs[name])} seeds x {FOLDS} folds; against rules alone {result[metric]['difference']:+.3f}, "
                    f"95 % {low:+.3f} to {high:+.3f}; in-house labels, no CLIP score",
                }
                print(
                    json.dumps(line) if options.json else f"{name:<50} {metric:<10} {line['value']:.3f}  {line['note']}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
