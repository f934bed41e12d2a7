"""The leak gate: made-up secrets are planted in the training text, and a model that can say them may not be promoted.

`Canaries.plan` draws the secrets, `Canaries.documents` is what to plant, `measure` asks the trained model for each secret, and
the `LeakReport` decides. Source: Carlini et al. 2019, "The Secret Sharer": canaries, rank and exposure.
"""

from pretrain.leakage.canaries import Canaries, Canary
from pretrain.leakage.gate import LeakReport, Level, exposure, measure
from pretrain.leakage.ranking import LeakageError

__all__ = ["Canaries", "Canary", "LeakReport", "LeakageError", "Level", "exposure", "measure"]
