"""The training that tests kill: a mini T5 on seeded text, one thread, a checkpoint after every few steps.

Run as `python -m tests.killed_training FOLDER STEPS`; it goes on where it stopped and prints a line per step.
"""

import sys
from pathlib import Path

import numpy as np
import torch

from pretrain import tokenizer as tokenizers
from pretrain.corpus import Document
from pretrain.tokenizer import Tokenizer
from pretrain.trainer import Budget, Settings
from tests.on_shards import pretrain_on

WORDS = ("patient", "stable", "on", "lisinopril", "metformin", "daily", "recheck", "INR", "in", "two", "weeks", "cardiology")


def documents() -> list[Document]:
    random = np.random.default_rng(0)
    texts = [" ".join(random.choice(WORDS, random.integers(5, 60))) for _ in range(80)]
    return [Document(f"d{n}", text, f"g{n}", deidentified_by="synthetic") for n, text in enumerate(texts)]


def train(folder: Path, steps: int) -> None:
    torch.set_num_threads(1)
    path = folder.parent / "tokenizer.json"
    if not path.exists():
        tokenizers.train([document.text for document in documents()], 256).save(path)
    pretrain_on(
        documents()[:70],
        documents()[70:],
        Tokenizer.load(path),
        "mini",
        folder,
        Budget(steps=steps),
        lambda report: print(report.step, flush=True),
        resume=True,
        batch_tokens=256,
        settings=Settings(save_every_s=0.1),
    )


if __name__ == "__main__":
    train(Path(sys.argv[1]), int(sys.argv[2]))
