"""Which kind of note goes to which task."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from integrations.codecs import hl7v2
from integrations.records import NoteKind

Task = Literal["clip", "radqa"]

TASKS: Mapping[NoteKind, Task] = MappingProxyType({NoteKind.DISCHARGE_SUMMARY: "clip", NoteKind.RADIOLOGY_REPORT: "radqa"})
"""The task that reads a kind of note by default: CLIP is about discharge summaries, RadQA about radiology reports."""


class RoutingConfig(BaseModel):
    """`[routing]`: what the hospital's own codes mean, and which task reads which kind of note."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    document_types: dict[str, NoteKind] = Field(default_factory=dict)
    """Kind of note by code as the hospital sends it (TXA-2, OBX-3, OBR-4, OBR-24), beside the codes that are known anyway."""
    tasks: dict[NoteKind, Task] = Field(default_factory=lambda: dict(TASKS), min_length=1)
    """The task that reads a kind of note; a note of a kind that is not here is kept, and ends with its reason."""


def routes(config: RoutingConfig) -> dict[str, NoteKind]:
    """Kind by code: those of the standards, and the hospital's own before them."""
    return {**hl7v2.ROUTES, **config.document_types}
