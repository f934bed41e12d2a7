"""What a training would take, before anything is written: counts, tokens, operations, time and disk."""

import hashlib
import math
import shutil
from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from appliance.config import load
from appliance.corpus_building import group_of
from appliance.home import Home
from appliance.training import starting_point, vocabulary
from appliance.training.base import WINDOW_TOKENS
from appliance.training.labels import read_all
from appliance.training.request import Request, TrainingError, Watch
from appliance.training.starting_point import is_t5
from appliance.training.story import excluded
from integrations.ehr_export import open_export
from pretrain import bundle
from pretrain.corpus import Drops
from pretrain.corpus.documents import unusable
from pretrain.tokenizer import Tokenizer
from pretrain.tokenizer import train as train_tokenizer

SAMPLED_CHARACTERS = 3_000_000
"""Of text, to learn how many tokens a character takes: some ten seconds' work."""
USUAL_SHARE = {"cpu": 0.45, "cuda": 0.3}
"""Of what the device multiplies at most a training usually reaches. On GPUs an assumption: others reach 0.22 to 0.46."""
PART_BYTES_PER_CHARACTER = 0.6
"""Of a de-identified part, packed, with its fingerprints."""
CHECKPOINT_BYTES, KEPT_CHECKPOINTS = 12, 3
"""A parameter, its two moments, in float32; two are kept while a third is written."""


@dataclass
class _Counts:
    """What one pass over the export finds; a hash and a few counters per note are in memory."""

    drops: Drops = field(default_factory=Counter)
    remarks: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    characters: int = 0
    hashes: "array[int]" = field(default_factory=lambda: array("q"))
    sample: dict[int, str] = field(default_factory=dict, repr=False)
    sampled: int = 0
    _below: int = 2**63

    def count(self, kind: str, text: str) -> None:
        """Take in one usable note."""
        words = " ".join(text.split()).casefold().encode("utf-8", "replace")
        digest = int.from_bytes(hashlib.blake2b(words, digest_size=8).digest(), "big", signed=True)
        self.kinds[kind] += 1
        self.characters += len(text)
        self.hashes.append(digest)
        if abs(digest) < self._below:
            self.sampled += len(text) - len(self.sample.get(digest, ""))
            self.sample[digest] = text
        while self.sampled > SAMPLED_CHARACTERS and len(self.sample) > 1:
            self._below //= 2
            self.sample = {at: text for at, text in self.sample.items() if abs(at) < self._below} or dict([self.sample.popitem()])
            self.sampled = sum(map(len, self.sample.values()))


def plan(home: Home, request: Request, watch: Watch) -> dict[str, Any]:
    """Read the export once and reckon; nothing is written and nothing is learnt.

    Near duplicates are not looked for, so the real corpus is smaller, and text is not de-identified, so tokens are a few
    per cent off. Time is reckoned from what this machine multiplies now.

    Raises:
        TrainingError, ExportError, DataError: what was given cannot be used.
    """
    starting_point.check(request)
    vocabulary.to_compare_with(load(home).training)
    counts = _read(home, request, watch)
    if not counts.characters:
        raise TrainingError(f"{request.notes} holds no note to learn from: {dict(counts.drops)}")
    duplicates = len(counts.hashes) - len(np.unique(np.frombuffer(counts.hashes, np.int64)))
    watch.phase("Reckoning")
    tokenizer = _tokenizer(home, request, list(counts.sample.values()))
    lengths = np.array([len(ids) for ids in tokenizer.ids(counts.sample.values())])
    kept = (len(counts.hashes) - duplicates) / len(counts.hashes)
    tokens = int(counts.characters * kept * lengths.sum() / sum(map(len, counts.sample.values())))
    model = _model(request, tokenizer, lengths)
    pass_flops = model.flops_per_token * tokens
    pass_s = pass_flops / model.flops_per_s
    disk = {
        "parts": int(counts.characters * PART_BYTES_PER_CHARACTER),
        "shards": 2 * tokens,
        "checkpoints": KEPT_CHECKPOINTS * CHECKPOINT_BYTES * model.parameters,
        "model": 8 * model.parameters,
    }
    free = shutil.disk_usage(home.root).free
    return {
        "notes": len(counts.hashes) + sum(counts.drops.values()),
        "documents": len(counts.hashes) - duplicates,
        "kinds": dict(counts.kinds),
        "dropped": dict(counts.drops + Counter({"exact duplicate": duplicates})),
        "remarks": dict(counts.remarks),
        "characters": counts.characters,
        "tokens": tokens,
        "parameters": model.parameters,
        "pass_flops": pass_flops,
        "pass_flops_6pt": 6.0 * model.parameters * tokens,
        "pass_s": pass_s,
        "passes": _passes(request, pass_s, tokens),
        "device": model.device,
        "disk_bytes": disk,
        "disk_free_bytes": free,
        "fits": sum(disk.values()) < free,
    }


def _read(home: Home, request: Request, watch: Watch) -> _Counts:
    counts, key = _Counts(), home.group_key.read_bytes()
    labels = read_all(home, request)
    labelled = labels["clip"].examples if "clip" in labels else []
    left_out = {note.group for note in labelled} | {group_of(key, patient) for patient in excluded(request.exclude)}
    export = open_export(request.notes, counts.drops, load(home).export)
    watch.phase(f"Reading {len(export.files):,} files")
    done, total = 0, sum(file.size for file in export.files)

    def on_bytes(more: int) -> None:
        nonlocal done
        done += more
        watch.work(done >> 20, total >> 20, "MB")

    for file in export.files:
        for note in export.notes(file, counts.drops, counts.remarks, on_bytes):
            if (reason := unusable(note.text)) is not None:
                counts.drops[reason] += 1
            elif group_of(key, note.patient.value if note.patient else note.note_id) in left_out:
                counts.drops["of a patient with labels or on the list to exclude"] += 1
            else:
                counts.count(note.kind.value, note.text)
    return counts


def _tokenizer(home: Home, request: Request, sample: list[str]) -> Tokenizer:
    if request.begin_from is not None:
        return Tokenizer.load(request.begin_from / bundle.TOKENIZER)
    config = load(home).training
    return train_tokenizer(sample, config.vocabulary, cased=config.cased)


@dataclass(frozen=True)
class _Model:
    parameters: int
    flops_per_token: float
    """Of the corpus."""
    flops_per_s: float
    device: str


def _model(request: Request, tokenizer: Tokenizer, lengths_D: NDArray[np.int64]) -> _Model:
    from pretrain.devices import best_device
    from pretrain.throughput import ceiling

    parameters, flops, positions = _t5(request, tokenizer, lengths_D) if is_t5(request) else _encoder(request, lengths_D)
    device = best_device()
    limit = ceiling(device)
    return _Model(parameters, flops / max(positions, 1), limit.flops_per_s * USUAL_SHARE[device.type], limit.name)


def _t5(request: Request, tokenizer: Tokenizer, lengths_D: NDArray[np.int64]) -> tuple[int, int, int]:
    """Parameters, and the operations that so many tokens take."""
    import torch

    from pretrain.models.families import load_t5, new_t5
    from pretrain.models.flops import encoder_decoder_flops
    from pretrain.span_corruption import masked_lengths, raw_length

    if request.begin_from is None:
        with torch.device("meta"):
            model = new_t5(request.size, tokenizer.vocab_size, 0)
    else:
        model = load_t5(request.begin_from)
    pieces = _pieces(lengths_D, raw_length(WINDOW_TOKENS))
    sides = [masked_lengths(raw) for raw in pieces]
    flops = encoder_decoder_flops(model.config, [source for source, _ in sides], [target for _, target in sides])
    return sum(parameter.numel() for parameter in model.parameters()), flops, sum(pieces)


def _encoder(request: Request, lengths_D: NDArray[np.int64]) -> tuple[int, int, int]:
    """The same for an encoder that guesses masked words."""
    from pretrain.masked_language import load_masked
    from pretrain.models.encoders import encoder_flops

    assert request.begin_from is not None  # none begins with random weights
    model = load_masked(request.begin_from)
    pieces = _pieces(lengths_D, WINDOW_TOKENS - 2)
    return sum(parameter.numel() for parameter in model.parameters()), encoder_flops(model.config, pieces), sum(pieces)


def _pieces(lengths_D: NDArray[np.int64], longest: int) -> list[int]:
    """Lengths of what documents are cut into."""
    return [longest] * int((lengths_D // longest).sum()) + [int(rest) for rest in lengths_D % longest if rest]


def _passes(request: Request, pass_s: float, tokens: int) -> float | None:
    """Over the corpus, within what was asked for; None where steps bound it."""
    if request.tokens:
        return request.tokens / tokens
    # What pretraining gets of a budget: see `story`.
    return None if request.budget_s is None else math.inf if not pass_s else 0.6 * request.budget_s / pass_s
