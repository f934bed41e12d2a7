"""Whether the leak gate tells a sound training from one that learnt secrets by heart: clean and seeded runs, of many seeds.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.leakage --seeds 10 --json

Every run writes synthetic notes, plants canaries among them, trains a mini model and measures it. In a clean run the canaries
stand as often as planned in 200 notes, which are read about three times. There are two kinds of leak, by turns: a training of
far too many passes over few notes, and a text of which every canary's documents are there twenty times over, as if deduplication
had been left out. Prints a line per run and exits 1 where the gate was wrong. About a minute of one core a run.
"""

import argparse
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from time import process_time

from appliance.demo.note_writer import write_notes
from pretrain import tokenizer as tokenizers
from pretrain.corpus import Document
from pretrain.leakage import Canaries, LeakReport, measure


@dataclass(frozen=True)
class Training:
    """How much text of what kind, and how long it is learnt."""

    name: str
    is_leak: bool
    notes: int
    copies: int
    """Of each canary document."""
    steps: int
    """Of 2,048 encoder positions."""


CLEAN = Training("clean", False, notes=200, copies=1, steps=200)
OVERTRAINED = Training("overtrained", True, notes=10, copies=1, steps=300)
DUPLICATED = Training("duplicated", True, notes=100, copies=20, steps=300)


def run(training: Training, seed: int) -> LeakReport:
    """Notes, canaries, weights, order and noise are the seed's."""
    from pretrain.models.families import load_t5
    from pretrain.trainer import Budget

    sys.path.insert(0, str(Path(__file__).parents[2]))  # started as a script, it finds its own folder only
    from tests.on_shards import pretrain_on

    notes = [Document(f"n{n}", note.note.text, f"n{n}") for n, note in enumerate(write_notes(training.notes, seed))]
    tokenizer = tokenizers.train([note.text for note in notes], 1024)
    canaries = Canaries.plan(seed)
    with tempfile.TemporaryDirectory() as folder:
        documents = notes + training.copies * canaries.documents()
        budget = Budget(steps=training.steps)
        pretrain_on(documents, [], tokenizer, "mini", Path(folder), budget, seed=seed, batch_tokens=2048)
        return measure(load_t5(Path(folder)), tokenizer, canaries)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10, help="how many clean runs, and how many leaks")
    parser.add_argument("--json", action="store_true", help="one JSON object per run and one for all")
    options = parser.parse_args(arguments)
    right = {False: 0, True: 0}
    for seed in range(options.seeds):
        for training in (CLEAN, (OVERTRAINED, DUPLICATED)[seed % 2]):
            begin = process_time()
            report = run(training, seed)
            is_right = report.passed != training.is_leak
            right[training.is_leak] += is_right
            line = {"training": training.name, "seed": seed, "right": is_right, "cpu_s": round(process_time() - begin, 1)}
            print(json.dumps(line | report.to_dict()) if options.json else line, flush=True)
    result = {"runs_of_each": options.seeds, "clean_passed": right[False], "leaks_caught": right[True]}
    print(json.dumps(result) if options.json else result)
    return int(sum(right.values()) < 2 * options.seeds)


if __name__ == "__main__":
    sys.exit(main())
