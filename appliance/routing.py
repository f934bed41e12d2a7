"""Which kind of note goes to which task."""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field

from integrations.codecs import hl7v2
from integrations.records import NoteKind

TASKS: Mapping[NoteKind, str] = {NoteKind.DISCHARGE_SUMMARY: "clip"}
"""The task that reads a kind of note; a note of another kind is kept, and ends with its reason."""


class RoutingConfig(BaseModel):
    """`[routing]`: what the hospital's own codes mean."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    document_types: dict[str, NoteKind] = Field(default_factory=dict)
    """Kind of note by code as the hospital sends it (TXA-2, OBX-3, OBR-4, OBR-24), beside the codes that are known anyway."""


def routes(config: RoutingConfig) -> dict[str, NoteKind]:
    """Kind by code: those of the standards, and the hospital's own before them."""
    return {**hl7v2.ROUTES, **config.document_types}
