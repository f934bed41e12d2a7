"""De-identification of texts before anything is learnt from them; where it cannot work, it raises and training stops."""

from pretrain.deid.identifiers import DeidError, Identifier, Kind
from pretrain.deid.masking import Deidentifier, deidentifier
from pretrain.deid.measuring import Case, measure

__all__ = ["Case", "DeidError", "Deidentifier", "Identifier", "Kind", "deidentifier", "measure"]
