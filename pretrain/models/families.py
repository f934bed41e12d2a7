"""The sizes a model comes in, and how an encoder-decoder of one is built.

T5 v1.1 throughout: gated GELU, no dropout while pretraining, an output matrix of its own. The vocabulary is the tokenizer's.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pretrain import distributed, fsdp
from pretrain.models import encoders


@dataclass(frozen=True)
class Size:
    """One row: what a T5 v1.1 configuration needs beside the vocabulary."""

    d_model: int
    d_ff: int
    d_kv: int
    num_heads: int
    num_layers: int
    """Of the encoder, and of the decoder."""


SIZES = {
    "mini": Size(d_model=128, d_ff=256, d_kv=32, num_heads=4, num_layers=2),
    "small": Size(d_model=256, d_ff=768, d_kv=64, num_heads=4, num_layers=4),
    "base": Size(d_model=768, d_ff=2048, d_kv=64, num_heads=12, num_layers=12),
    "large": Size(d_model=1024, d_ff=2816, d_kv=64, num_heads=16, num_layers=24),
}
"""`base` and `large` are T5 v1.1's; `mini` is for tests and demonstrations, `small` for a night on CPUs."""


_SHARED = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
_OUTPUT = "lm_head.weight"
_UNUSED = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"
"""Early checkpoints hold it, and no T5 reads it."""


def size_named(name: str) -> Size:
    """The row of a size.

    Raises:
        ValueError: there is no such size.
    """
    if name not in SIZES:
        raise ValueError(f"there is no size {name!r}; choose one of {', '.join(SIZES)}")
    return SIZES[name]


def t5_config(size: str, vocab_size: int, dropout: float = 0.0) -> Any:
    """A `transformers.T5Config`.

    Args:
        size: a key of `SIZES`.
        vocab_size: the tokenizer's, sentinels included.
        dropout: 0 while pretraining, as T5 v1.1.
    """
    from transformers import T5Config

    row = asdict(size_named(size))
    return T5Config(
        **row,
        num_decoder_layers=row["num_layers"],
        vocab_size=vocab_size,
        feed_forward_proj="gated-gelu",
        dropout_rate=dropout,
        pad_token_id=0,
        eos_token_id=1,
        # The library has no default for it and fails in training without.
        decoder_start_token_id=0,
        # v1.1 does not scale: its output matrix is its own, and starts out small enough.
        scale_decoder_outputs=False,
    )


def new_t5(size: str, vocab_size: int, seed: int) -> Any:
    """A `T5ForConditionalGeneration` with random weights, the same for the same seed."""
    import torch
    from transformers import T5ForConditionalGeneration

    config = t5_config(size, vocab_size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = T5ForConditionalGeneration._from_config(config, attn_implementation="eager")
        _untie(model)
    return model


def load_t5(folder: Path, device: str = "cpu") -> Any:
    """Read a T5 in float32, without dropout: one that `save_t5` wrote, or another's in the layout of `transformers`.

    The original T5 guesses with its embedding, v1.1 and those trained here with a matrix of its own: what the file holds decides.

    Raises:
        ValueError: `folder` holds no T5, or not the weights of its config.json, or none as safetensors.
    """
    import torch
    from transformers import T5ForConditionalGeneration

    config = encoders.read_config(folder, dropout=0.0)
    if config.model_type != "t5":
        raise ValueError(f"{folder.name}: {encoders.CONFIG} is that of a {config.model_type} model; give a T5")
    config.decoder_start_token_id = config.pad_token_id
    weights = encoders.read_weights(folder)
    # Some write the one shared matrix under its name in a stack.
    embedding = next((weights.pop(name) for name in ("shared.weight", *_SHARED) if name in weights), torch.empty(0))
    weights = {name: tensor for name, tensor in weights.items() if name not in (*_SHARED, _UNUSED)} | {"shared.weight": embedding}
    model = T5ForConditionalGeneration._from_config(config, attn_implementation=attention(device))
    if config.scale_decoder_outputs:
        weights.setdefault(_OUTPUT, embedding)
    if not (config.scale_decoder_outputs and torch.equal(weights[_OUTPUT], embedding)):
        _untie(model)
    try:
        # What is missing but the shared embedding's other names is in no file, and is never left to chance.
        model.load_state_dict(weights | dict.fromkeys(_SHARED, embedding))
    except RuntimeError as error:
        raise ValueError(f"{folder.name}: its weights are not those of its config.json; pretrain it again") from error
    return model.to(device=device, dtype=torch.float32)


def attention(device: str) -> str:
    """Eager on CPUs: with T5's trained bias the library's default there takes up to twice the time."""
    return "eager" if device == "cpu" else "sdpa"


def save_t5(model: Any, folder: Path) -> None:
    """Write `model.safetensors` and `config.json`, which `T5ForConditionalGeneration.from_pretrained` reads.

    The embedding that encoder and decoder share, and in the original T5 the output, is written once. All processes of a training
    call it, and the main one writes.
    """
    from safetensors.torch import save_file

    once = _SHARED if model.lm_head.weight is not model.shared.weight else (*_SHARED, _OUTPUT)
    weights = {name: fsdp.gathered(tensor) for name, tensor in model.state_dict().items() if name not in once}
    if not distributed.is_main():
        return
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    model.config.architectures = ["T5ForConditionalGeneration"]
    model.config.save_pretrained(folder)


def _untie(model: Any) -> None:
    """Give the output its own matrix, and leave the input's one matrix shared between encoder and decoder.

    `tie_word_embeddings=False` in a configuration is ignored, and set afterwards it parts all three.
    """
    import torch

    weight = torch.empty_like(model.lm_head.weight).normal_(std=model.config.d_model**-0.5)
    model.lm_head.weight = torch.nn.Parameter(weight)
