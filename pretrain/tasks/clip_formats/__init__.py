"""Labelled CLIP notes in every layout they come in: JSON lines, the published data set's CSV, Label Studio, brat.

A path goes `read` -> what stands there -> the reader of that layout -> `LabelledNote`s, the same whatever the layout. A layout
that labels sentences keeps them as they are; one that marks spans gives its labels to the sentences that the bedside finds.
It needs no torch.
"""

import os
from pathlib import Path

from pretrain.tasks import clip
from pretrain.tasks.base import LabelledNote
from pretrain.tasks.clip_formats import physionet, spans
from pretrain.tasks.clip_formats.files import text_of
from pretrain.tasks.clip_formats.physionet import splits

__all__ = ["read", "splits"]


def read(path: Path) -> list[LabelledNote]:
    """The labelled notes at `path`, in their order there.

    A folder is PhysioNet's where `sentence_level.csv` lies in it (all its notes; `splits` tells them apart), else brat's. A
    `.csv` has the columns of `sentence_level.csv`. A `.json` that holds a list is a Label Studio export. Any other file is
    read by `clip.read`. Every note is a group of its own, but where a layout names its patient: JSON lines by `patient_id`,
    Label Studio by `data.patient_id`.

    Raises:
        DataError: nothing that can be read is there, or a part of it is not what its layout asks for.
    """
    if os.path.isdir(path):
        return physionet.read(path / physionet.SENTENCES) if os.path.exists(path / physionet.SENTENCES) else spans.brat(path)
    if path.suffix.lower() == ".csv":
        return physionet.read(path)
    if path.suffix.lower() == ".json" and (text := text_of(path).removeprefix("\ufeff")).lstrip().startswith("["):
        return spans.label_studio(path, text)
    return clip.read(path)
