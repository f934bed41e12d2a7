"""A tiny T5 and batches of unequal weight, cut finer or coarser: what accumulation and several processes must not change."""

import numpy as np
import torch

from pretrain.batching import IGNORED, Batch, Cursor
from pretrain.models.families import new_t5

VOCABULARY = 128


class UnequalBatches:
    """Row n of an endless text is the same whatever the batch it comes in; its target has 2 to 20 tokens."""

    fingerprint = "unequal batches"

    def __init__(self, rows: int) -> None:
        self.rows = rows

    def take(self, cursor: Cursor) -> tuple[Batch, Cursor]:
        rows = [self._row(cursor.position * self.rows + row) for row in range(self.rows)]
        inputs, targets = (np.stack(column) for column in zip(*rows, strict=True))
        return Batch(inputs, np.ones_like(inputs), targets), Cursor(0, cursor.position + 1)

    def loss(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        return model(input_ids=torch.from_numpy(batch.input_ids), labels=torch.from_numpy(batch.labels)).loss

    def weight(self, batch: Batch) -> int:
        return int(batch.decoder_lengths.sum())

    def cost(self, batch: Batch) -> tuple[int, int]:
        return self.weight(batch), 1000 * self.weight(batch)

    def _row(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        random = np.random.default_rng(number)
        target = random.integers(3, VOCABULARY // 4, 20)
        inputs = np.append(target[:11], 1)
        target[random.integers(2, 21) :] = IGNORED
        return inputs, target


def tiny_t5() -> torch.nn.Module:
    return new_t5("mini", VOCABULARY, seed=0)
