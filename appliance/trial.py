"""A candidate beside the promoted model: in its shadow, or for a share of the notes, and compared with it on all of them.

Which of the two reads a note is decided by the note's id, so a note that is read again is read by the same one. What the other
one makes of it goes to metrics only. A candidate that fails costs nobody anything: the promoted model reads.
"""

import hashlib
import logging
import threading
import time
from queue import Full, Queue

from appliance import metrics
from appliance.reading import Reader, Reading
from appliance.trouble import explain
from integrations.records import Finding, ModelVersion, Note
from pretrain.tasks import clip
from serving.engine import EngineError

logger = logging.getLogger(__name__)

MOST_WAITING = 100
"""Comparisons beyond these are left out: nothing is compared at the expense of those who wait."""


class Trial:
    """A `Reader` of two. Its comparing thread ends with `close`, or with the process."""

    def __init__(self, promoted: Reader, candidate: Reader, share: float) -> None:
        """Begin to compare.

        Args:
            promoted: who reads.
            candidate: who is tried.
            share: of the notes, 0 to 1, that the candidate reads; with 0 it is their shadow.
        """
        self.promoted, self.candidate, self.share = promoted, candidate, share
        # An engine answers one thread at a time, and the worker and the comparison may want the same one.
        self._alone = {id(reader): threading.Lock() for reader in (promoted, candidate)}
        self._waiting: Queue[tuple[Note, Reading, Reader] | None] = Queue(MOST_WAITING)
        self._thread = threading.Thread(target=self._compare, name="trial", daemon=True)
        self._thread.start()

    @property
    def model(self) -> ModelVersion:
        """Who reads what the candidate does not."""
        return self.promoted.model

    def read(self, note: Note) -> Reading:
        """What the one whose turn it is finds; the other one is asked later."""
        reader, other = (self.candidate, self.promoted) if self._is_its_turn(note) else (self.promoted, self.candidate)
        try:
            reading = self._read(reader, note)
        except EngineError as error:
            if reader is self.promoted:
                raise
            self._failed(error)
            return self._read(self.promoted, note)
        try:
            self._waiting.put_nowait((note, reading, other))
        except Full:
            metrics.CANDIDATE_SKIPPED.inc()
        return reading

    def close(self) -> None:
        """Let the comparison in hand be the last."""
        while True:
            try:
                self._waiting.put_nowait(None)
                return
            except Full:
                self._waiting.get()

    def _is_its_turn(self, note: Note) -> bool:
        return int.from_bytes(hashlib.sha256(note.note_id.encode()).digest()[:8], "big") < self.share * 2**64

    def _read(self, reader: Reader, note: Note) -> Reading:
        with self._alone[id(reader)]:
            began = time.perf_counter()
            reading = reader.read(note)
            if reader is self.candidate:
                metrics.CANDIDATE_SECONDS.observe(time.perf_counter() - began)
        return reading

    def _compare(self) -> None:
        while (item := self._waiting.get()) is not None:
            note, reading, other = item
            try:
                other_found = self._read(other, note).findings
                n_different = len(differing(reading.findings, other_found))
                n_judged = len({f.question for f in (*reading.findings, *other_found)} - {""}) or len(
                    clip.sentences_of(note.text)
                )
            except Exception as error:
                # Whatever it is: the note has been read, and the next one is compared.
                self._failed(error)
                continue
            metrics.CANDIDATE_SENTENCES.labels("different").inc(n_different)
            metrics.CANDIDATE_SENTENCES.labels("same").inc(max(0, n_judged - n_different))

    def _failed(self, error: Exception) -> None:
        metrics.CANDIDATE_FAILURES.inc()
        logger.warning("the candidate could not be compared: %s", explain(error))


def differing(one: list[Finding], other: list[Finding]) -> set[tuple[int, int] | str]:
    """What two readings of a note differ in: sentences, as start and end, with other labels, and questions with other answers."""
    said, also = ({(f.start, f.end, f.label, f.question) for f in found} for found in (one, other))
    return {question or (start, end) for start, end, _, question in said ^ also}
