"""Documents of a test as the shards that pretraining learns from."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pretrain import shards
from pretrain.budget import Budget
from pretrain.corpus import Document
from pretrain.pretraining import DEV, TRAIN, PretrainingResult, pretrain
from pretrain.tokenizer import Tokenizer

STAMP = "made up, so nobody is in it"


def tokenize(folder: Path, documents: Sequence[Document], tokenizer: Tokenizer) -> shards.Shard:
    """One shard of the documents."""
    source = hashlib.sha256("\0".join(document.text for document in documents).encode()).hexdigest()
    return shards.tokenize(folder, (replace(d, deidentified_by=STAMP) for d in documents), tokenizer, STAMP, source)


def pretrain_on(
    train: Sequence[Document],
    dev: Sequence[Document],
    tokenizer: Tokenizer,
    size: str,
    folder: Path,
    budget: Budget,
    *arguments: Any,
    **options: Any,
) -> PretrainingResult:
    """`pretrain` on these documents."""
    for part, documents in ((TRAIN, train), (DEV, dev)):
        tokenize(folder / part, documents, tokenizer)
    return pretrain(tokenizer, size, folder, budget, *arguments, **options)
