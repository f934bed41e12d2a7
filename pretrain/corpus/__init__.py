"""The texts to train on: from documents of one export file to a part on disk, from all parts to what is trained on.

`prepare` (a part per input, in any process) -> `select` (kept apart, duplicates, split) -> `Corpus` (streams). No step holds
more than some fifty bytes per note and a row group of text, and nothing that has no de-identification stamp gets in.
"""

from pretrain.corpus.documents import CorpusError, Document, Drops, NotDeidentified, require_stamp
from pretrain.corpus.parts import Part, Source, prepare
from pretrain.corpus.selection import select
from pretrain.corpus.stored import Corpus

__all__ = [
    "Corpus",
    "CorpusError",
    "Document",
    "Drops",
    "NotDeidentified",
    "Part",
    "Source",
    "prepare",
    "require_stamp",
    "select",
]
