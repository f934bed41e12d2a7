"""`[training]` of `appliance.toml`."""

from pydantic import BaseModel, ConfigDict, Field


class TrainingConfig(BaseModel):
    """How a corpus is read, and into which vocabulary."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    workers: int = Field(default=0, ge=0)
    """Processes that read and de-identify the export; 0 for one per core."""
    ray_address: str = ""
    """Of a Ray cluster that does this instead: "auto" or "ray://HOST:10001"."""
    vocabulary: int = Field(default=16_384, ge=2_048, le=65_536)
    """Pieces asked for; a small corpus gives fewer."""
    cased: bool = True
    """Whether capitals are told from small letters, as Clinical-T5-Large does and Clinical-T5-Base does not."""
