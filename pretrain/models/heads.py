"""An encoder with a linear head: the module that every served model is.

Shape suffixes: B = windows, T = tokens of a window, D = width of the encoder, C = channels, S = sentences of the batch.
"""

from pathlib import Path
from typing import Any, cast

import safetensors.torch
import torch
from torch import Tensor, nn

from pretrain.models import encoders
from pretrain.models.encoders import CONFIG, WEIGHTS

TWIN = "encoder.embed_tokens.weight"
"""The same tensor as `shared.weight` of a T5 encoder, so no file holds it twice."""


class TokenTagger(nn.Module):
    """`input_ids`, `attention_mask` (B, T) -> `token_logits` (B, T, C).

    Pooling is not part of it: the mean of a linear head's logits over a sentence is the head of the mean, so the task pools
    outside, and one graph serves sentences that cross windows.
    """

    def __init__(self, config: Any, channels: int) -> None:
        super().__init__()
        self.encoder = encoders.build(config)
        self.dropout = nn.Dropout(encoders.dropout_of(config))
        self.head = nn.Linear(config.hidden_size, channels)

    @classmethod
    def from_pretrained(cls, folder: Path, channels: int, dropout: float = 0.1) -> "TokenTagger":
        """The encoder that `save_pretrained` wrote into `folder`, alone or with a head or decoder, and a fresh head.

        Raises:
            ValueError: `folder` holds no such encoder; `pretrain.models.encoders.FAMILIES` are those that are known.
        """
        config = encoders.read_config(folder, dropout)
        tagger = cls(config, channels)
        encoders.fill(tagger.encoder, _twinned(encoders.of_encoder(encoders.read_weights(folder), config)), folder)
        return tagger

    @classmethod
    def load(cls, folder: Path) -> "TokenTagger":
        """What `files` gave, from a folder such as a bundle's, in eval mode.

        Raises:
            ValueError: `folder` holds no such module.
        """
        config = encoders.read_config(folder)
        tagger = cls(config, config.num_labels)
        encoders.fill(tagger, _twinned(encoders.read_weights(folder), "encoder."), folder)
        return tagger.eval()

    def files(self) -> dict[str, bytes]:
        """Configuration and weights as the contents of files by name."""
        weights = {name: tensor.cpu() for name, tensor in self.state_dict().items() if name != f"encoder.{TWIN}"}
        settings = {key: value for key, value in self.config.to_dict().items() if key not in ("id2label", "label2id")}
        config = type(self.config).from_dict({**settings, "num_labels": self.head.out_features})
        return {
            CONFIG: config.to_json_string(use_diff=False).encode(),
            WEIGHTS: safetensors.torch.save(weights),
        }

    @property
    def config(self) -> Any:
        """The encoder's own, of `transformers`."""
        return self.encoder.config

    @property
    def longest_window(self) -> int | None:
        """Positions that it can be asked with; None for any number."""
        return encoders.longest_window(self.config)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Logits of every position, float32 whatever the encoder computes in."""
        hidden_BTD = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return cast(Tensor, self.head(self.dropout(hidden_BTD)).float())


def pool(token_logits_BTC: Tensor, owner_BT: Tensor, sentences: int) -> Tensor:
    """Mean of each sentence's own token logits (S, C); zeros where a sentence has no token.

    The differentiable twin of `pretrain.tasks.clip.sentence_logits`, for a batch.

    Args:
        token_logits_BTC: as the tagger gives them.
        owner_BT: the index of each position's sentence within the batch; -1 for a window's frame, padding and what lies between.
        sentences: how many there are in the batch.
    """
    own = owner_BT >= 0
    owners = owner_BT[own]
    sums_SC = token_logits_BTC.new_zeros(sentences, token_logits_BTC.shape[-1]).index_add(0, owners, token_logits_BTC[own])
    counts_S = torch.bincount(owners, minlength=sentences).clamp(min=1)
    return sums_SC / counts_S[:, None]


def _twinned(weights: dict[str, Tensor], prefix: str = "") -> dict[str, Tensor]:
    if f"{prefix}shared.weight" in weights:
        weights[prefix + TWIN] = weights[f"{prefix}shared.weight"]
    return weights
