"""Labelling functions: what rules alone can say about the follow-up a discharge summary asks for, sentence by sentence.

A vote needs a topic (a visit, a test, a drug ...) and a sign that it lies after discharge: a heading such as "Follow-up:",
a future or imperative form, or "pending". The rules know how such notes are written, not how one hospital writes them; they
are to teach a model on notes that nobody labelled, so a wrong vote costs as much as a missing one.

`sections` reads a note, `cues` holds the vocabulary, `functions` decides, `voting` asks them, `weighing` says what their votes
are worth. `questions` and `inference` make lessons for the other tasks.
"""

from pretrain.labelling.voting import votes
from pretrain.labelling.weighing import evidence

__all__ = ["evidence", "votes"]
