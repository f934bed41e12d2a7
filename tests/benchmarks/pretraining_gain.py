"""What pretraining gives a tagger: the same labelled notes, seeds and folds, from two encoders, and the paired difference.

    python tests/benchmarks/pretraining_gain.py --labels gold.jsonl --ours home/models/q/base/1 --json

`--theirs` is another folder, or random weights of the same shape and vocabulary. Every note is measured by taggers that have
not seen it; whether an encoder has read its text is for whoever pretrained it to avoid. Prints one JSON object per metric.
"""

import argparse
import json
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from pretrain.evaluation import out_of_fold
from pretrain.tasks import clip
from pretrain.tasks.base import LabelledNote, TaggedSpan
from pretrain.tokenizer import Tokenizer

RANDOM = "random"


def one_run(
    labels: Path, encoder: Path, is_random: bool, size: str, folds: int, steps: int | None, seed: int
) -> list[list[TaggedSpan]]:
    """What taggers of one seed say about every note."""
    from pretrain.budget import Budget
    from pretrain.finetuning.clip import FinetunedTagger, finetune_clip

    tokenizer = Tokenizer.load(encoder / "tokenizer.json")

    def finetune(train: list[LabelledNote], dev: list[LabelledNote]) -> FinetunedTagger:
        begin = None if is_random else encoder
        return finetune_clip(
            train, dev, tokenizer, size=size, encoder=begin, budget=Budget(steps=steps) if steps else None, seed=seed
        )

    return out_of_fold(clip.read(labels), folds, tokenizer, finetune, seed=seed)


def runs(pool: ProcessPoolExecutor, options: argparse.Namespace, encoder: Path, is_random: bool) -> list[Any]:
    """One run per seed, side by side."""
    run = partial(one_run, options.labels, encoder, is_random, options.size, options.folds, options.steps)
    done = []
    for predicted in pool.map(run, range(options.seeds)):
        done.append(predicted)
        print(f"{encoder.name}{', random weights' * is_random}: seed {len(done)} of {options.seeds}", file=sys.stderr)
    return done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=Path, required=True, help="labelled notes (.jsonl)")
    parser.add_argument("--ours", type=Path, required=True, help="folder of the pretrained encoder with its tokenizer.json")
    parser.add_argument("--theirs", default=RANDOM, help="another such folder; by default random weights")
    parser.add_argument("--size", default="small", help="of the encoder with random weights")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--steps", type=int, help="of each finetuning, at most; by default as many as the product takes")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--json", action="store_true", help="JSON objects alone")
    options = parser.parse_args()
    # A thread each: seeds side by side waste nothing.
    os.environ["OMP_NUM_THREADS"] = "1"
    began = time.monotonic()
    with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool:
        ours = runs(pool, options, options.ours, False)
        is_random = options.theirs == RANDOM
        theirs = runs(pool, options, options.ours if is_random else Path(options.theirs), is_random)
    result = clip.compare(clip.read(options.labels), ours, theirs)
    for metric in ("micro_f1", "macro_f1", "binary_f1"):
        row = result[metric]
        low, high = row["ci95"]
        line = {
            "bench": "pretraining_gain",
            "variant": f"{options.ours.name} against {options.theirs}",
            "metric": metric,
            "value": row["ours"],
            "baseline": row["theirs"],
            "ratio": row["ours"] / row["theirs"] if row["theirs"] else None,
            "n": result["n_notes"],
            "note": f"difference {row['difference']:+.3f}, 95 % {low:+.3f} to {high:+.3f}, paired over notes and "
            f"{options.seeds} seeds x {options.folds} folds of {options.steps or 'the usual'} steps; "
            f"in-house labels, no CLIP score; {time.monotonic() - began:.0f} s",
        }
        print(json.dumps(line) if options.json else f"{metric:<10} {row['ours']:.3f} against {row['theirs']:.3f}: {line['note']}")


if __name__ == "__main__":
    main()
