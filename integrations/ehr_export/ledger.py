"""What becomes of an export's records that give no note, or give one on an assumption: counted by reason."""

from collections import Counter

MOST_REASONS = 200
"""More different ones are no longer told apart: some come from the export itself, which could hold a new one in each line."""


class Ledger:
    """Counts into the caller's counters; `n_dropped` says how much was left out through this ledger."""

    def __init__(self, drops: Counter[str], remarks: Counter[str]) -> None:
        self._drops, self._remarks, self.n_dropped = drops, remarks, 0

    def drop(self, reason: str, count: int = 1) -> None:
        """`count` records, or files, are left out."""
        self.n_dropped += count
        _add(self._drops, reason, count)

    def remark(self, assumed: str, count: int = 1) -> None:
        """`count` records, or files, are kept, and this was assumed."""
        _add(self._remarks, assumed, count)


def _add(counter: Counter[str], reason: str, count: int) -> None:
    counter[reason if reason in counter or len(counter) < MOST_REASONS else "for another reason"] += count
