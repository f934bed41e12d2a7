"""Labelling functions: what rules alone can say about the follow-up a discharge summary asks for, sentence by sentence.

A vote needs a topic (a visit, a test, a drug ...) and a sign that it lies after discharge: a heading such as "Follow-up:",
a future or imperative form, or "pending". The rules know how such notes are written, not how one hospital writes them; they
are to teach a model on notes that nobody labelled, so a wrong vote costs as much as a missing one.

`sections` reads a note, `cues` holds the vocabulary, `functions` decides.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pretrain.labelling.functions import FUNCTIONS
from pretrain.labelling.sections import read
from pretrain.tasks.clip import LABELS
from pretrain.text import Span

__all__ = ["votes"]


def votes(text: str, sentences: Sequence[Span]) -> NDArray[np.bool_]:
    """Which labels the rules give to each sentence of a note: (S, L), channels in the order of `LABELS`.

    A heading without words of its own gets none. Takes time linear in the length of `text`.
    """
    said_SL = np.zeros((len(sentences), len(LABELS)), np.bool_)
    for s, sentence in enumerate(read(text, sentences)):
        if sentence.body:
            said_SL[s] = [FUNCTIONS[label](sentence) for label in LABELS]
    return said_SL
