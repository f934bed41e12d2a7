"""The encoders a tagger can stand on, by the `model_type` of their config.json: T5's, those like BERT, and GPT-2's decoder.

How each is built, what its weights are called in a folder that `save_pretrained` wrote, how far it sees and what it costs.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import safetensors.torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from numpy.typing import ArrayLike
from torch import Tensor, nn
from transformers.models.t5.modeling_t5 import T5Attention

CONFIG, WEIGHTS = "config.json", "model.safetensors"


@dataclass(frozen=True)
class Family:
    """One row: what is called differently from model to model."""

    config: str
    encoder: str
    """Class of `transformers`."""
    masked: str = ""
    """The same with an output for masked tokens; a T5 and a GPT-2 have none."""
    prefix: str = ""
    """Of the encoder's weights in the latter, or in another model with a head."""
    dropouts: tuple[str, ...] = ("hidden_dropout_prob",)
    """Settings of the configuration, those of attention not among them."""
    attention_dropout: str = "attention_probs_dropout_prob"


FAMILIES = {
    # T5 has one setting for all of its dropout: `build` takes attention's out again.
    "t5": Family("T5Config", "T5EncoderModel", dropouts=("dropout_rate",), attention_dropout=""),
    "bert": Family("BertConfig", "BertModel", "BertForMaskedLM", "bert."),
    "roberta": Family("RobertaConfig", "RobertaModel", "RobertaForMaskedLM", "roberta."),
    # GatorTron. Its layers norm what they read, not what they give, and the last one's output is normed: the model's own affair.
    "megatron-bert": Family("MegatronBertConfig", "MegatronBertModel", "MegatronBertForMaskedLM", "bert."),
    "modernbert": Family(
        "ModernBertConfig",
        "ModernBertModel",
        "ModernBertForMaskedLM",
        "model.",
        ("mlp_dropout", "embedding_dropout"),
        "attention_dropout",
    ),
    # A decoder: a token is read with what stands before it only, so a task must not pool at the first position.
    "gpt2": Family("GPT2Config", "GPT2Model", "", "transformer.", ("resid_pdrop", "embd_pdrop"), "attn_pdrop"),
}


def read_config(folder: Path, dropout: float | None = None) -> Any:
    """The configuration that stands in `folder`, a `transformers` class of its own.

    Args:
        folder: of an encoder, with `config.json`.
        dropout: of the encoder, but for its attention; None leaves what the file says.
    Raises:
        ValueError: there is none, or it is of a model that no tagger can stand on.
    """
    try:
        settings = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        kind = settings.get("model_type", "t5")
    except (OSError, ValueError, AttributeError) as error:
        raise ValueError(f"{folder.name}: {CONFIG} cannot be read; train again or copy the folder again") from error
    if kind not in FAMILIES:
        raise ValueError(f"{folder.name}: {CONFIG} is that of a {kind} model; give an encoder of {', '.join(FAMILIES)}")
    settings.pop("_name_or_path", None)  # where it once came from is nobody's business
    try:
        config = getattr(transformers, FAMILIES[kind].config).from_dict(settings)
    except StrictDataclassError as error:
        raise ValueError(f"{folder.name}: {CONFIG} has a setting that no {kind} has; copy the folder again") from error
    if dropout is not None:
        for name in FAMILIES[kind].dropouts:
            setattr(config, name, dropout)
    return config


def build(config: Any) -> Any:
    """The encoder with random weights: `input_ids`, `attention_mask` -> `.last_hidden_state`.

    Its attention drops nothing: with windows of 512 that would take a third of a training step of a T5 on a CPU, and two thirds
    of one of a MiniLM, for no gain in F1 beyond what the seed makes. Eager, because with T5's trained bias
    `scaled_dot_product_attention` is slower on CPUs and cannot be exported; without one it is no faster.
    """
    family = FAMILIES[config.model_type]
    if family.attention_dropout:
        setattr(config, family.attention_dropout, 0.0)
    extra = {"add_pooling_layer": False} if config.model_type in ("bert", "roberta", "megatron-bert") else {}
    encoder = getattr(transformers, family.encoder)._from_config(config, attn_implementation="eager", **extra)
    for module in encoder.modules():
        if isinstance(module, T5Attention):
            module.dropout = 0.0
    return encoder


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Every tensor of `model.safetensors` in float32, under the names that today's `transformers` gives them.

    Raises:
        ValueError: the file is missing or damaged.
    """
    if not (folder / WEIGHTS).exists() and (folder / "pytorch_model.bin").exists():
        raise ValueError(
            f"{folder.name}: pytorch_model.bin can run code when it is read; write {WEIGHTS} instead where you trust it, with"
            " transformers' from_pretrained and save_pretrained"
        )
    try:
        weights = safetensors.torch.load_file(folder / WEIGHTS)
    except (OSError, safetensors.SafetensorError) as error:
        raise ValueError(f"{folder.name}: {WEIGHTS} cannot be read; train again or copy the folder again") from error
    # BERT's first checkpoints came from TensorFlow and kept its names.
    return {
        name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias"): tensor.float()
        for name, tensor in weights.items()
    }


def fill(module: nn.Module, weights: dict[str, Tensor], folder: Path) -> None:
    """Load exactly the module's weights by name; others, such as a decoder's, are left.

    Raises:
        ValueError: one is missing or has another shape. Nothing is ever left to chance.
    """
    try:
        module.load_state_dict({name: weights[name] for name in module.state_dict()})
    except (KeyError, RuntimeError) as error:
        raise ValueError(f"{folder.name}: {WEIGHTS} does not hold this model; train again or copy the folder again") from error


def of_encoder(weights: dict[str, Tensor], config: Any) -> dict[str, Tensor]:
    """The weights under the names of the encoder alone, whichever model with a head they were saved with."""
    prefix = FAMILIES[config.model_type].prefix
    return {name.removeprefix(prefix): tensor for name, tensor in weights.items()}


def longest_window(config: Any) -> int | None:
    """Positions that the encoder has, its window's frame included; None where its positions are relative."""
    if config.model_type == "t5":
        return None
    # RoBERTa counts its positions from behind the padding's.
    behind = config.pad_token_id + 1 if config.model_type == "roberta" else 0
    return int(config.max_position_embeddings) - behind


def encoder_flops(config: Any, lengths_B: ArrayLike) -> int:
    """Floating-point operations of one forward and backward pass over windows of these lengths: every matrix product.

    Counted as `pretrain.models.flops.encoder_decoder_flops` counts them; attention in full, local or not.
    """
    length_B = np.asarray(lengths_B, np.int64)
    width, is_t5 = config.hidden_size, config.model_type == "t5"
    inner = config.num_attention_heads * config.d_kv if is_t5 else width
    is_gated = config.is_gated_act if is_t5 else config.model_type == "modernbert"
    # A GPT-2 names its own only where it is not four times the width.
    between = config.d_ff if is_t5 else (config.n_inner or 4 * width) if config.model_type == "gpt2" else config.intermediate_size
    feed_forward = (3 if is_gated else 2) * width * between
    layer = (4 * width * inner + feed_forward) * length_B.sum() + 2 * inner * (length_B**2).sum()
    return 6 * int(config.num_hidden_layers * layer)


def dropout_of(config: Any) -> float:
    """Share of the hidden values that are dropped while training."""
    return float(getattr(config, FAMILIES[config.model_type].dropouts[0]))


def masked_model(config: Any) -> Any:
    """The encoder with an output for masked tokens, tied to its embedding; random weights.

    Raises:
        ValueError: this kind of model learns otherwise.
    """
    family = FAMILIES[config.model_type]
    if not family.masked:
        others = ", ".join(name for name, row in FAMILIES.items() if row.masked)
        raise ValueError(
            f"a {config.model_type} model does not learn from masked tokens; give one of {others}, or a T5, which learns by span"
            " corruption"
        )
    setattr(config, family.attention_dropout, 0.0)
    return getattr(transformers, family.masked)._from_config(config, attn_implementation="eager")


def masked_logits(model: Any, hidden_MD: Tensor) -> Tensor:
    """(M, V): what a masked model says about positions of its encoder's output."""
    if model.config.model_type == "modernbert":
        return cast(Tensor, model.decoder(model.head(hidden_MD)))
    return cast(Tensor, (model.cls if model.config.model_type in ("bert", "megatron-bert") else model.lm_head)(hidden_MD))
