"""The corpus as it lies on disk: parts, and a byte per document that says what becomes of it."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pretrain.corpus.documents import CorpusError, Document, Drops, require_stamp
from pretrain.corpus.parts import Part, write_durably

FORMAT = "clinappliance-corpus-1"
TRAIN, DEV, FIRST_REASON = 0, 1, 2
"""Decisions; from `FIRST_REASON` on, the document was dropped for the reason of that number."""
_MANIFEST, _DECISIONS = "corpus.json", "decisions.u8"


@dataclass(frozen=True)
class Documents:
    """Some documents of a corpus, read from disk each time one goes through them; one row group is in memory at a time."""

    parts: tuple[Part, ...]
    wanted: NDArray[np.bool_] = field(repr=False)
    """(N,), of all documents of the parts."""

    @property
    def fingerprint(self) -> str:
        """The same for the same documents in the same order, known without reading them."""
        digest = hashlib.sha256(np.packbits(self.wanted).tobytes())
        for part in self.parts:
            digest.update(part.sha256.encode())
        return digest.hexdigest()

    def __len__(self) -> int:
        return int(np.count_nonzero(self.wanted))

    def __iter__(self) -> Iterator[Document]:
        at = 0
        for part in self.parts:
            yield from part.documents_where(self.wanted[at : at + part.documents])
            at += part.documents


@dataclass(frozen=True)
class Corpus:
    """What `select` decided, checked against what is on disk.

    Order is that of the parts' names and within them that of the export; shuffling is the batches' business.
    """

    parts: tuple[Part, ...]
    manifest: dict[str, Any] = field(repr=False)
    decisions: NDArray[np.uint8] = field(repr=False)
    """(N,), of all documents of the parts."""

    @classmethod
    def open(cls, folder: Path, stamp: str) -> "Corpus":
        """Read what `select` wrote to `folder`, after checking every hash.

        Raises:
            NotDeidentified: its texts went through another de-identifier, or none.
            CorpusError: something is missing, cut short or altered.
        """
        try:
            manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
            asked = manifest["asked"]
            if asked["format"] != FORMAT:
                raise CorpusError(f"{folder.name}/{_MANIFEST} was made by another version; read the export again")
            content = (folder / _DECISIONS).read_bytes()
            whole = hashlib.sha256(content).hexdigest() == manifest["sha256"]
            parts = tuple(Part.load(folder, name) for name in asked["parts"])
            whole &= [part.sha256 for part in parts] == list(asked["parts"].values())
            whole &= sum(part.documents for part in parts) == len(content)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CorpusError(f"{folder.name} holds no corpus ({type(error).__name__}); read the export again") from error
        if not whole:
            raise CorpusError(f"{folder.name} is not the corpus that was written; read the export again")
        for part in parts:
            require_stamp(part.stamp, stamp)
        return cls(parts, manifest, np.frombuffer(content, np.uint8))

    @classmethod
    def write(cls, folder: Path, parts: tuple[Part, ...], decisions: NDArray[np.uint8], manifest: dict[str, Any]) -> "Corpus":
        """Put decisions and manifest into `folder`; the manifest last, so that both are there or none counts."""
        content = decisions.tobytes()
        manifest = manifest | {"sha256": hashlib.sha256(content).hexdigest()}
        write_durably(folder / _DECISIONS, content)
        write_durably(folder / _MANIFEST, (json.dumps(manifest, indent=2) + "\n").encode())
        return cls(parts, manifest, decisions)

    @property
    def train(self) -> Documents:
        """To learn from."""
        return Documents(self.parts, self.decisions == TRAIN)

    @property
    def dev(self) -> Documents:
        """Of other patients, to watch the loss on."""
        return Documents(self.parts, self.decisions == DEV)

    @property
    def stamp(self) -> str:
        """Of the de-identifier that every text went through."""
        return str(self.manifest["asked"]["stamp"])

    @property
    def fingerprint(self) -> str:
        """The same for the same texts to learn from, whatever their order and their files."""
        return str(self.manifest["fingerprint"])

    @property
    def drops(self) -> Drops:
        """What was left out, by reason, from the export's first byte on."""
        return sum((Counter(part.drops) for part in self.parts), Counter(self.manifest["drops"]))

    @property
    def remarks(self) -> Counter[str]:
        """What was kept with an assumption, by what was assumed."""
        return sum((Counter(part.remarks) for part in self.parts), Counter[str]())

    @property
    def kinds(self) -> Counter[str]:
        """Documents kept, by kind."""
        return Counter(self.manifest["kinds"])

    @property
    def characters(self) -> int:
        """Of the documents to learn from."""
        return int(self.manifest["characters"])

    @property
    def length_histogram(self) -> list[tuple[int, int]]:
        """(words, documents kept with up to so many and more than the entry before), by doubling."""
        return [(words, count) for words, count in self.manifest["length_histogram"]]

    def drawn(self, count: int, seed: int = 0) -> Documents:
        """Documents to learn from, drawn at random, about `count`: all where there are no more."""
        wanted = np.random.default_rng(seed).random(len(self.decisions)) < count / max(len(self.train), 1)
        return Documents(self.parts, wanted & (self.decisions == TRAIN))

    def sample(self, characters: int, seed: int = 0, *, held_out: bool = False) -> list[str]:
        """Texts to learn from, or held out, drawn at random, of together about `characters`: all where there are no more."""
        wanted = self.decisions == (DEV if held_out else TRAIN)
        # How long documents are is known of those to learn from.
        share = characters / max(self.characters * np.count_nonzero(wanted) / max(len(self.train), 1), 1)
        wanted &= np.random.default_rng(seed).random(len(wanted)) < share
        return [document.text for document in Documents(self.parts, wanted)]
