"""Ways to answer questions about reports, and to judge pairs, from few labels: what the product does, beside ways without it.

    python tests/benchmarks/other_tasks.py --task radqa --labels gold.json --reports reports.jsonl --encoder /models/MiniLM --json
    python tests/benchmarks/other_tasks.py --task mednli --labels gold.jsonl --encoder /models/MiniLM --json

Whatever is chosen or fitted (cut-offs, heads, vocabularies) is chosen on the other folds; folds are by report or note. A run is
one seed, of the folds and of teaching. `reports` holds texts to make questions about, one JSON object a line with `text`; those
that share half of their runs of words with a labelled one are left out. Rules count as unseen only for labels that their authors
had not in view: `--unseen IDS` (one report or note a line) gives those a score of their own. In-house labels: no RadQA or MedNLI
scores.
"""

import argparse
import json
import math
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[2]))  # started as a script, it finds its own folder only

from pretrain.evaluation import folds
from pretrain.labelling import inference
from pretrain.labelling.questions import Report, make_questions
from pretrain.shingles import Shelf
from pretrain.tasks import mednli, radqa
from pretrain.tasks.question_match import Match, best_phrase, best_sentence
from pretrain.tokenizer import Tokenizer

FOLDS = 5
Way = Callable[[Sequence[Any], int], NDArray[np.float64]]
"""Examples and a seed -> the points of each example (N,), said about it without having seen it."""


def answered(questions: Sequence[Any], answers: Sequence[radqa.Answer], seed: int) -> NDArray[np.float64]:
    """F1 of every question, with the cut-off of the other folds."""
    points = np.zeros(len(questions))
    for part in folds(questions, FOLDS, seed):
        others = sorted(set(range(len(questions))) - set(part))
        cutoff = radqa.best_no_answer_cutoff([questions[i] for i in others], [answers[i] for i in others])
        for i in part:
            said = answers[i].text(questions[i].context) if answers[i].score > cutoff else ""
            points[i] = radqa.exact_and_f1(questions[i], said)[1]
    return points


def by_words(find: Callable[[str, str], Match | None]) -> Way:
    """A rule that finds the sentence or phrase with a question's words."""

    def way(questions: Sequence[Any], seed: int) -> NDArray[np.float64]:
        found = [find(question.question, question.context) for question in questions]
        answers = [radqa.Answer(one.answer, one.share) if one else radqa.Answer(None, radqa.NO_SPAN_SCORE) for one in found]
        return answered(questions, answers, seed)

    return way


def taught_reader(encoder: Path, texts: Sequence[str]) -> Way:
    """As `train --radqa` does it where few questions are labelled: questions made by rule teach, labelled ones choose."""
    from pretrain.finetuning.radqa import finetune_radqa

    tokenizer = Tokenizer.load(encoder / "tokenizer.json")

    def way(questions: Sequence[Any], seed: int) -> NDArray[np.float64]:
        known = Shelf({question.context for question in questions}).nearly_holds(texts)
        reports = [Report(f"r{n}", text, f"r{n}") for n, text in enumerate(texts) if not known[n]]
        made = make_questions(reports, seed=seed)
        reader = finetune_radqa(made, [], tokenizer, encoder=encoder, epochs=1, seed=seed)
        return answered(questions, radqa.answer(reader.run, tokenizer, questions, -math.inf), seed)

    return way


def plain_reader(encoder: Path) -> Way:
    """As a textbook finetunes: a new head, and of the question's words and kind only what the encoder makes of them itself."""
    from pretrain.finetuning import radqa as reading

    tokenizer = Tokenizer.load(encoder / "tokenizer.json")

    def no_hints(question: str, context: str, encoded: radqa.EncodedQuestion) -> list[NDArray[np.float32]]:
        return [np.zeros((len(starts), 2), np.float32) for starts in encoded.starts]

    def way(questions: Sequence[Any], seed: int) -> NDArray[np.float64]:
        answers = [radqa.Answer(None, radqa.NO_SPAN_SCORE)] * len(questions)
        with patch.object(radqa, "hints", no_hints), patch.object(reading.Reading, "fit_head", lambda self, model: None):
            for part in folds(questions, FOLDS, seed):
                train = [questions[i] for i in sorted(set(range(len(questions))) - set(part))]
                reader = reading.finetune_radqa(train, [], tokenizer, encoder=encoder, seed=seed)
                asked = [questions[i] for i in part]
                said = radqa.answer(reader.run, tokenizer, asked, -math.inf, cuts_by_kind=False)
                for i, one in zip(part, said, strict=True):
                    answers[i] = one
        return answered(questions, answers, seed)

    return way


def _right(pairs: Sequence[Any], said: Sequence[str]) -> NDArray[np.float64]:
    return np.array([float(pair.label == label) for pair, label in zip(pairs, said, strict=True)])


def tfidf(pairs: Sequence[Any], seed: int) -> NDArray[np.float64]:
    """Logistic regression on the words of premise and hypothesis, told apart."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    texts = [
        " ".join([*("p_" + word for word in pair.premise.split()), *("h_" + word for word in pair.hypothesis.split())])
        for pair in pairs
    ]
    said = [""] * len(pairs)
    for part in folds(pairs, FOLDS, seed):
        others = sorted(set(range(len(pairs))) - set(part))
        model = make_pipeline(TfidfVectorizer(sublinear_tf=True), LogisticRegression(C=10, max_iter=1000))
        model.fit([texts[i] for i in others], [pairs[i].label for i in others])
        for i, label in zip(part, model.predict([texts[i] for i in part]), strict=True):
            said[i] = label
    return _right(pairs, said)


def taught_judge(encoder: Path, head: bool) -> Way:
    """As `finetune mednli` does it: a table of facts teaches, and labelled pairs fit the head (or, without, nothing)."""
    from pretrain.finetuning.mednli import FinetunedJudge, finetune_mednli, teach_mednli

    tokenizer = Tokenizer.load(encoder / "tokenizer.json")
    taught: dict[int, FinetunedJudge] = _TAUGHT

    def way(pairs: Sequence[Any], seed: int) -> NDArray[np.float64]:
        if seed not in taught:
            taught[seed] = teach_mednli(inference.pairs(seed=seed), tokenizer, encoder=encoder, seed=seed)
        said = mednli.decode(mednli.predict(taught[seed].run, tokenizer, pairs))
        for part in folds(pairs, FOLDS, seed) if head else ():
            others = sorted(set(range(len(pairs))) - set(part))
            judge = finetune_mednli(
                [pairs[i] for i in others], [], tokenizer, encoder=encoder, taught=taught[seed], epochs=0, seed=seed
            )
            for i, label in zip(part, mednli.decode(mednli.predict(judge.run, tokenizer, [pairs[i] for i in part])), strict=True):
                said[i] = label
        return _right(pairs, said)

    return way


def plain_judge(encoder: Path) -> Way:
    """As a textbook finetunes: a new head, and encoder and head learn together from the labelled pairs."""
    from pretrain.finetuning import mednli as judging

    tokenizer = Tokenizer.load(encoder / "tokenizer.json")

    def way(pairs: Sequence[Any], seed: int) -> NDArray[np.float64]:
        said = [""] * len(pairs)
        with patch.object(judging.Inference, "fit_head", lambda self, model: None):
            for part in folds(pairs, FOLDS, seed):
                train = [pairs[i] for i in sorted(set(range(len(pairs))) - set(part))]
                judge = judging.finetune_mednli(train, [], tokenizer, encoder=encoder, seed=seed)
                asked = [pairs[i] for i in part]
                for i, label in zip(part, mednli.decode(mednli.predict(judge.run, tokenizer, asked)), strict=True):
                    said[i] = label
        return _right(pairs, said)

    return way


_TAUGHT: dict[int, Any] = {}
"""By seed: both ways to use a taught judge share it."""


def interval(points_RN: NDArray[np.float64], groups: Sequence[str], draws: int = 10_000) -> list[float]:
    """95 % of the mean over runs and examples, drawing whole groups and, apart from them, runs."""
    names = list(dict.fromkeys(groups))
    member_NG = np.array([[group == name for name in names] for group in groups], float)
    sums_RG, counts_G = points_RN @ member_NG, member_NG.sum(0)
    rng = np.random.default_rng(0)
    weights = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
    runs = rng.integers(len(points_RN), size=(draws, len(points_RN)))
    means = [(weight @ sums_RG[run].mean(0)) / (weight @ counts_G) for weight, run in zip(weights, runs, strict=True)]
    return [float(bound) for bound in np.quantile(means, (0.025, 0.975))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=("radqa", "mednli"), required=True)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument(
        "--encoder", type=Path, help="folder of a pretrained encoder; without it only what needs none is measured"
    )
    parser.add_argument("--reports", type=Path, help="texts to make questions about (.jsonl), for radqa")
    parser.add_argument("--unseen", type=Path, help="reports or notes that no author of rules had in view, one a line")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="JSON objects alone")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    ways: dict[str, Way]
    if options.task == "radqa":
        examples: Sequence[Any] = radqa.read(options.labels)
        ways = {
            "best sentence by words": by_words(best_sentence),
            "always no answer": lambda questions, seed: np.array([float(not question.answers) for question in questions]),
            "best phrase by words and kind of question": by_words(best_phrase),
        }
        if options.encoder:
            ways[f"{options.encoder.name} finetuned plainly"] = plain_reader(options.encoder)
        if options.encoder and options.reports:
            texts = [json.loads(line)["text"] for line in options.reports.read_text(encoding="utf-8").splitlines()]
            ways[f"{options.encoder.name} taught with questions made by rule"] = taught_reader(options.encoder, texts)
    else:
        examples = mednli.read(options.labels)
        ways = {"TF-IDF with logistic regression": tfidf}
        if options.encoder:
            ways[f"{options.encoder.name} finetuned plainly"] = plain_judge(options.encoder)
            ways[f"{options.encoder.name} taught with a table of facts"] = taught_judge(options.encoder, False)
            ways[f"{options.encoder.name} taught with a table, head fitted"] = taught_judge(options.encoder, True)
    figure = "f1" if options.task == "radqa" else "accuracy"
    unseen = set(options.unseen.read_text().split()) if options.unseen else set()
    sets = {"all": np.full(len(examples), True)} | (
        {"unseen": np.array([example.group in unseen for example in examples])} if unseen else {}
    )
    baseline, first = next(iter(ways)), None
    for name, way in ways.items():
        points_RN = np.array([way(examples, seed) for seed in range(options.seeds)])
        first = points_RN if first is None else first
        for where, chosen in sets.items():
            own, groups = points_RN[:, chosen], [example.group for example, is_in in zip(examples, chosen, strict=True) if is_in]
            difference = own - first[:, chosen]
            low, high = interval(difference, groups)
            silent = [i for i, example in enumerate(examples) if options.task == "radqa" and not example.answers and chosen[i]]
            told = f", without an answer told so {points_RN[:, silent].mean():.3f}" if silent else ""
            line = {
                "bench": options.task,
                "variant": f"{name} ({where})",
                "metric": figure,
                "value": float(own.mean()),
                "ci95": interval(own, groups),
                "baseline": float(first[:, chosen].mean()),
                "n": int(chosen.sum()),
                "note": f"{options.seeds} seeds of teaching and folds{told}; against {baseline} {difference.mean():+.3f}, "
                f"95 % {low:+.3f} to {high:+.3f}; in-house labels, no {'RadQA' if options.task == 'radqa' else 'MedNLI'} score",
            }
            print(json.dumps(line) if options.json else f"{line['variant']:<60} {line['value']:.3f}  {line['note']}", flush=True)


if __name__ == "__main__":
    main()
