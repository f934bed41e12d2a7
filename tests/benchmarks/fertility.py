"""How many tokens a vocabulary learnt from a corpus makes of notes held out from it, beside another model's.

    python tests/benchmarks/fertility.py --corpus ../shared/data/corpus/mtsamples.jsonl --compare /models/t5-base --json

A line per vocabulary. Every tenth note is held out, with those of its `cluster` (near duplicates) where the corpus names one.
Nothing is de-identified: both vocabularies read the same text. Another's vocabulary is no part of this project.
"""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # started as a script, it finds its own folder only

from pretrain.fertility import Fertility, measure
from pretrain.tokenizer import Tokenizer, train

EVERY = 10
VOCABULARY = 16_384


def parted(corpus: Path) -> tuple[list[str], list[str]]:
    """Texts to learn from, and held out."""
    rows = [json.loads(line) for line in corpus.read_text(encoding="utf-8").splitlines()]
    names = [row.get("cluster") or row["note_id"] for row in rows]
    held_out = set(sorted(set(names))[::EVERY])
    parts: tuple[list[str], list[str]] = [], []
    for name, row in zip(names, rows, strict=True):
        parts[name in held_out].append(row["text"])
    return parts


def measured(learnt: list[str], held_out: list[str], cased: bool, others: list[Path]) -> list[Fertility]:
    """Of a vocabulary made here and of those in the other folders."""
    vocabularies = {"made here": train(learnt, VOCABULARY, cased=cased)}
    vocabularies |= {folder.name: Tokenizer.load(folder / "tokenizer.json") for folder in others}
    return [measure(name, vocabulary, held_out) for name, vocabulary in vocabularies.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True, help="notes (.jsonl) with note_id and text")
    parser.add_argument("--compare", type=Path, action="append", default=[], help="a folder with another's tokenizer.json")
    parser.add_argument("--uncased", action="store_true")
    parser.add_argument("--json", action="store_true", help="JSON objects alone")
    options = parser.parse_args()
    learnt, held_out = parted(options.corpus)
    if not options.json:
        print(f"learnt from {len(learnt)} notes, measured on {len(held_out)} others")
    for found in measured(learnt, held_out, not options.uncased, options.compare):
        line = f"{found}, {found.characters_per_token:.2f} characters a token, {found.pieces} pieces"
        print(json.dumps({"bench": "fertility", "n": len(held_out)} | asdict(found)) if options.json else line)


if __name__ == "__main__":
    main()
