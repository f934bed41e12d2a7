"""`[training]` of `appliance.toml`."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from pretrain.budget import Schedule


class TrainingConfig(BaseModel):
    """How a corpus is read, into which vocabulary, and how it is learnt from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    workers: int = Field(default=0, ge=0)
    """Processes that read and de-identify the export; 0 for one per core."""
    ray_address: str = ""
    """Of a Ray cluster that does this instead: "auto" or "ray://HOST:10001"."""
    vocabulary: int = Field(default=16_384, ge=2_048, le=65_536)
    """Pieces asked for; a small corpus gives fewer."""
    cased: bool = True
    """Whether capitals are told from small letters, as Clinical-T5-Large does and Clinical-T5-Base does not."""
    compare_tokenizer: Path | None = None
    """A folder with another model's tokenizer.json, such as a T5's: the page shows how many tokens a word takes in each."""
    schedule: Schedule = "cosine"
    """How pretraining's learning rate falls: along a cosine to almost nothing at the end of the budget, or with the root of
    what is used of it, as T5's did. A run that is gone on with needs that of its beginning."""
