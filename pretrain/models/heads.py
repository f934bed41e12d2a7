"""A T5 encoder with a linear head: the module that every served model is.

Shape suffixes: B = windows, T = tokens of a window, D = width of the encoder, C = channels, S = sentences of the batch.
"""

import json
from pathlib import Path
from typing import Any, cast

import safetensors.torch
import torch
from torch import Tensor, nn
from transformers import T5Config, T5EncoderModel

CONFIG, WEIGHTS = "config.json", "model.safetensors"

TWIN = "encoder.embed_tokens.weight"
"""The same tensor as `shared.weight` of a T5 encoder, so no file holds it twice."""


class TokenTagger(nn.Module):
    """`input_ids`, `attention_mask` (B, T) -> `token_logits` (B, T, C).

    Pooling is not part of it: the mean of a linear head's logits over a sentence is the head of the mean, so the task pools
    outside, and one graph serves sentences that cross windows.
    """

    def __init__(self, config: T5Config, channels: int) -> None:
        super().__init__()
        # T5's relative bias is trained, and with a trained bias SDPA is slower than eager on CPUs and cannot be exported.
        self.encoder = T5EncoderModel._from_config(config, attn_implementation="eager")
        self.dropout = nn.Dropout(config.dropout_rate)
        self.head = nn.Linear(config.d_model, channels)

    @classmethod
    def from_pretrained(cls, folder: Path, channels: int, dropout: float = 0.1) -> "TokenTagger":
        """The encoder of a T5 that `save_pretrained` wrote into `folder`, with a fresh head.

        Raises:
            ValueError: `folder` holds no such T5.
        """
        tagger = cls(_config(folder, dropout), channels)
        _fill(tagger.encoder, folder)
        return tagger

    @classmethod
    def load(cls, folder: Path) -> "TokenTagger":
        """What `files` gave, from a folder such as a bundle's, in eval mode.

        Raises:
            ValueError: `folder` holds no such module.
        """
        config = _config(folder)
        tagger = cls(config, config.num_labels)
        _fill(tagger, folder, "encoder.")
        return tagger.eval()

    def files(self) -> dict[str, bytes]:
        """Configuration and weights as the contents of files by name."""
        weights = {name: tensor.cpu() for name, tensor in self.state_dict().items() if name != f"encoder.{TWIN}"}
        settings = {key: value for key, value in self.config.to_dict().items() if key not in ("id2label", "label2id")}
        config = T5Config.from_dict({**settings, "num_labels": self.head.out_features})
        return {
            CONFIG: config.to_json_string(use_diff=False).encode(),
            WEIGHTS: safetensors.torch.save(weights),
        }

    @property
    def config(self) -> Any:
        """The encoder's `T5Config`."""
        return self.encoder.config

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Logits of every position, float32 whatever the encoder computes in."""
        hidden_BTD = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return cast(Tensor, self.head(self.dropout(hidden_BTD)).float())


def pool(token_logits_BTC: Tensor, owner_BT: Tensor, sentences: int) -> Tensor:
    """Mean of each sentence's own token logits (S, C); zeros where a sentence has no token.

    The differentiable twin of `pretrain.tasks.clip.sentence_logits`, for a batch.

    Args:
        token_logits_BTC: as the tagger gives them.
        owner_BT: the index of each position's sentence within the batch; -1 for `</s>`, padding and what lies between.
        sentences: how many there are in the batch.
    """
    own = owner_BT >= 0
    owners = owner_BT[own]
    sums_SC = token_logits_BTC.new_zeros(sentences, token_logits_BTC.shape[-1]).index_add(0, owners, token_logits_BTC[own])
    counts_S = torch.bincount(owners, minlength=sentences).clamp(min=1)
    return sums_SC / counts_S[:, None]


def _config(folder: Path, dropout: float | None = None) -> Any:
    try:
        settings = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder.name}: {CONFIG} cannot be read; train again or copy the folder again") from error
    if dropout is not None:
        settings["dropout_rate"] = dropout
    return T5Config.from_dict(settings)


def _fill(module: nn.Module, folder: Path, prefix: str = "") -> None:
    """Load the module's weights; others in the file, such as a decoder's, are left."""
    try:
        weights = safetensors.torch.load_file(folder / WEIGHTS)
        weights[prefix + TWIN] = weights[prefix + "shared.weight"]
        module.load_state_dict({name: weights[name].float() for name in module.state_dict()})
    except (OSError, safetensors.SafetensorError, KeyError, RuntimeError) as error:
        raise ValueError(f"{folder.name}: {WEIGHTS} does not hold this model; train again or copy the folder again") from error
