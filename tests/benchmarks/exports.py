"""Exports to measure on, of any size: text of a Markov chain over synthetic notes, a quarter of them saved again."""

import itertools
import json
import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from appliance.demo.note_writer import write_notes

SAVED_AGAIN, OF_ANOTHER = 0.25, 0.02
"""Shares of notes: the patient's own once more, changed or not; another patient's with a line changed."""
FILE_BYTES = 50_000_000


@dataclass(frozen=True)
class Generated:
    """What was written, and the truth about it."""

    folder: Path
    size_bytes: int
    notes: int
    saved_again: int
    of_another: int


def write_export(folder: Path, size_bytes: int, seed: int = 0) -> Generated:
    """Write about so many bytes as JSON lines, in files of 50 MB."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(seed)
    rows = _rows(rng, _lines(rng, 40_000))
    written = counts = notes = 0
    truth = {"new": 0, "saved again": 0, "of another": 0}
    for number in itertools.count():
        if written >= size_bytes:
            break
        with (folder / f"notes-{number:04}.jsonl").open("w", encoding="utf-8") as file:
            counts = 0
            while counts < min(FILE_BYTES, size_bytes - written):
                origin, row = next(rows)
                counts += file.write(json.dumps({"note_id": f"n{notes}", **row}, ensure_ascii=False) + "\n")
                truth[origin] += 1
                notes += 1
        written += counts
    return Generated(folder, sum(f.stat().st_size for f in folder.iterdir()), notes, truth["saved again"], truth["of another"])


def _lines(rng: random.Random, n: int) -> list[str]:
    """Lines that look like those of notes and are not theirs."""
    follows: defaultdict[str, list[str]] = defaultdict(list)
    for written in write_notes(400, seed=1):
        words = written.note.text.replace("\n", " \n ").split(" ")
        for word, following in itertools.pairwise(word for word in words if word):
            follows[word].append(following)
    lines: list[str] = []
    words, word = [], "\n"
    while len(lines) < n:
        word = rng.choice(follows[word] or ["\n"])
        if word == "\n":
            lines += [" ".join(words)] if words else []
            words = []
        else:
            words.append(word)
    return lines


def _rows(rng: random.Random, lines: list[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Notes without end, each with where it comes from; log-normal lengths, as notes have them."""
    elsewhere = [rng.choices(lines, k=20)]
    for patient in itertools.count():
        own: list[list[str]] = []
        for day in range(1 + int(rng.expovariate(1 / 7))):
            chance = rng.random()
            if own and chance < SAVED_AGAIN:
                origin, note = "saved again", _saved_again(rng, rng.choice(own), lines)
            elif chance > 1 - OF_ANOTHER:
                origin, note = "of another", list(rng.choice(elsewhere))
                note[rng.randrange(len(note))] = rng.choice(lines)
            else:
                # A median of some 185 words and a mean of 320: 250 and 430 tokens.
                words = min(2200.0, rng.lognormvariate(5.22, 1.04))
                origin, note = "new", rng.choices(lines, k=max(3, round(words / 6)))
                own.append(note)
                if len(note) > 12:
                    elsewhere[:] = [*elsewhere[-50:], note]
            at = f"2024-{patient % 12 + 1:02}-{day % 28 + 1:02}T08:00:00"
            yield origin, {"patient_id": str(patient), "kind": "other", "written_at": at, "text": "\n".join(note)}


def _saved_again(rng: random.Random, note: list[str], lines: list[str]) -> list[str]:
    """The same, or with an addendum, or with one line in ten changed."""
    way = rng.randrange(3)
    if way == 0:
        return note
    if way == 1:
        return [*note, "ADDENDUM", *rng.choices(lines, k=1 + len(note) // 5)]
    changed = list(note)
    for _ in range(1 + len(note) // 10):
        changed[rng.randrange(len(note))] = rng.choice(lines)
    return changed
