"""The rules' votes on a note: which labels each sentence gets."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pretrain.labelling.functions import FUNCTIONS
from pretrain.labelling.sections import read
from pretrain.tasks.clip import LABELS
from pretrain.text import Span


def votes(text: str, sentences: Sequence[Span]) -> NDArray[np.bool_]:
    """Which labels the rules give to each sentence of a note: (S, L), channels in the order of `LABELS`.

    A heading without words of its own gets none. Takes time linear in the length of `text`.
    """
    said_SL = np.zeros((len(sentences), len(LABELS)), np.bool_)
    for s, sentence in enumerate(read(text, sentences)):
        if sentence.body:
            said_SL[s] = [FUNCTIONS[label](sentence) for label in LABELS]
    return said_SL
