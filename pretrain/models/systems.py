"""The twelve systems that the paper compares, a row each, and the newer encoder it could not know.

A row says what a system is, what it cost and what the paper printed of it; `fits` checks that a folder holds one, and `tiny`
builds a small random model of the very same architecture, with a tokenizer of the same kind, for tests and dry runs.
Source: Lehman et al. 2023, "Do We Still Need Clinical Language Models?", tables of models and of results.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pretrain.models.flops import six_p_t
from pretrain.tokenizer import train

CONFIG, WEIGHTS = "config.json", "model.safetensors"
Architecture = Literal["encoder-decoder", "encoder", "decoder"]
Learning = Literal["heads", "text-to-text", "prompting"]

LOADED_BY: dict[Learning, str] = {
    "heads": "pretrain.models.heads.TokenTagger.from_pretrained",
    "text-to-text": "pretrain.models.families.load_t5",
    "prompting": "pretrain.experiments.local_model.LocalModel",
}
"""What reads a system's folder (`config.json`, `model.safetensors`, `tokenizer.json`), by how the system learns."""


@dataclass(frozen=True)
class BySource:
    """A figure for each kind of text that a system was pretrained on; None where nobody says."""

    general: float | None = 0.0
    biomedical: float | None = 0.0
    clinical: float | None = 0.0


UNTOLD = BySource(None, None, None)


@dataclass(frozen=True)
class Scores:
    """What the paper printed, as shares: means over seeds on the test sets, of prompted systems on a quarter of them."""

    mednli_accuracy: float
    radqa_em: float
    radqa_f1: float
    clip_micro_f1: float
    clip_macro_f1: float
    """Mean of the labels' F1, as `pretrain.tasks.clip.score` gives it."""


@dataclass(frozen=True)
class System:
    """One row."""

    name: str
    architecture: Architecture
    model_type: str
    """Of its config.json; "" for whatever decoder stands in for one that nobody can have."""
    parameters: int
    tokens: BySource
    """Of pretraining, as the paper gives them."""
    printed: Scores | None
    """None for what is not in the paper."""
    printed_flops: BySource
    """As printed, in five cells without the factor 6; `flops` are those to compare by."""
    learns: Learning
    licence: str
    """"(unverified)" where no licence text was read."""
    origin: str
    """Who made it and under which name it is given away."""
    is_gated: bool = False
    """A T5 with gated GELU and an output matrix of its own (v1.1), not the original."""

    @property
    def flops(self) -> BySource:
        """Spent on pretraining, by 6PT for every cell alike; of an encoder-decoder up to twice what was done."""
        return BySource(*(self._flops(getattr(self.tokens, kind)) for kind in ("general", "biomedical", "clinical")))

    @property
    def loaded_by(self) -> str:
        """What reads its folder."""
        return LOADED_BY[self.learns]

    def _flops(self, tokens: float | None) -> float | None:
        return None if tokens is None else float(six_p_t(self.parameters, round(tokens)))


_B = 1e9
_T5 = BySource(34 * _B, 0.5 * _B)
_PHYSIONET = "PhysioNet Credentialed Health Data License 1.5.0: research only, not to be passed on"

_ROWS = (
    System(
        "T5-Base",
        "encoder-decoder",
        "t5",
        220_000_000,
        _T5,
        Scores(0.818, 0.479, 0.662, 0.767, 0.594),
        BySource(4.5e19, 6.6e17),
        "text-to-text",
        "Apache-2.0",
        "Google, t5-base",
    ),
    System(
        "Clinical-T5-Base-Ckpt",
        "encoder-decoder",
        "t5",
        220_000_000,
        BySource(34 * _B, 0.5 * _B, 13 * _B),
        Scores(0.852, 0.507, 0.689, 0.772, 0.605),
        UNTOLD,
        "text-to-text",
        _PHYSIONET,
        "Lehman and Johnson, Clinical-T5-Base-Ckpt on PhysioNet",
    ),
    System(
        "Clinical-T5-Base",
        "encoder-decoder",
        "t5",
        220_000_000,
        BySource(clinical=40 * _B),
        Scores(0.855, 0.531, 0.710, 0.793, 0.652),
        BySource(clinical=5.3e19),
        "text-to-text",
        _PHYSIONET,
        "Lehman and Johnson, Clinical-T5-Base on PhysioNet",
    ),
    System(
        "RoBERTa-Large",
        "encoder",
        "roberta",
        345_000_000,
        BySource(2200 * _B),
        Scores(0.852, 0.521, 0.684, 0.793, 0.677),
        BySource(4.6e21),
        "heads",
        "MIT",
        "Facebook AI, roberta-large",
    ),
    System(
        "BioClinRoBERTa",
        "encoder",
        "roberta",
        345_000_000,
        BySource(biomedical=2037 * _B, clinical=65 * _B),
        Scores(0.900, 0.604, 0.759, 0.805, 0.707),
        BySource(biomedical=4.2e21, clinical=1.4e20),
        "heads",
        "MIT (unverified); trained on MIMIC-III",
        "Lewis et al. 2020, RoBERTa-large-PM-M3-Voc of bio-lm",
    ),
    System(
        "GatorTron",
        "encoder",
        "megatron-bert",
        345_000_000,
        BySource(40 * _B, 92 * _B, 1570 * _B),
        Scores(0.883, 0.583, 0.759, 0.791, 0.690),
        BySource(1.4e19, 1.9e20, 3.3e21),
        "heads",
        "Apache-2.0",
        "University of Florida and NVIDIA, gatortron-base",
    ),
    System(
        "T5-Large",
        "encoder-decoder",
        "t5",
        770_000_000,
        _T5,
        Scores(0.849, 0.537, 0.700, 0.779, 0.629),
        BySource(2.6e19, 2.3e18),
        "text-to-text",
        "Apache-2.0",
        "Google, t5-large",
    ),
    System(
        "Clinical-T5-Large",
        "encoder-decoder",
        "t5",
        770_000_000,
        BySource(clinical=38 * _B),
        Scores(0.872, 0.550, 0.745, 0.800, 0.663),
        BySource(clinical=1.8e20),
        "text-to-text",
        _PHYSIONET,
        "Lehman and Johnson, Clinical-T5-Large on PhysioNet",
    ),
    System(
        "PubMedGPT",
        "decoder",
        "gpt2",
        2_700_000_000,
        BySource(biomedical=300 * _B),
        Scores(0.870, 0.512, 0.698, 0.819, 0.666),
        BySource(biomedical=4.9e21),
        "heads",
        "bigscience-bloom-rail-1.0: no medical advice, no interpretation of medical results",
        "Stanford CRFM and MosaicML, BioMedLM",
    ),
    System(
        "T5-XL",
        "encoder-decoder",
        "t5",
        3_000_000_000,
        _T5,
        Scores(0.869, 0.568, 0.729, 0.780, 0.640),
        BySource(1e20, 9e18),
        "text-to-text",
        "Apache-2.0",
        "Google, t5-3b",
    ),
    System(
        "Flan-T5-XXL",
        "encoder-decoder",
        "t5",
        11_000_000_000,
        _T5,
        Scores(0.808, 0.300, 0.602, 0.164, 0.178),
        BySource(3.7e20, 5.5e18),
        "prompting",
        "Apache-2.0",
        "Google, flan-t5-xxl",
        is_gated=True,
    ),
    # No note leaves the hospital: a decoder in a local folder stands in for it, and its own figures are what is measured.
    System(
        "GPT-3",
        "decoder",
        "",
        175_000_000_000,
        UNTOLD,
        Scores(0.805, 0.362, 0.619, 0.154, 0.146),
        UNTOLD,
        "prompting",
        "proprietary, behind an interface; that of the decoder standing in",
        "OpenAI, text-davinci-003",
    ),
    # Warner et al. 2024. Its figures are from the authors' announcement, not checked against the paper.
    System(
        "ModernBERT-Large",
        "encoder",
        "modernbert",
        395_000_000,
        BySource(2000 * _B),
        None,
        UNTOLD,
        "heads",
        "Apache-2.0 (unverified)",
        "Answer.AI and LightOn, ModernBERT-large",
    ),
)

SYSTEMS = {row.name: row for row in _ROWS}
"""By name: the paper's twelve in the order of its table of models, then what is newer."""


def system_named(name: str) -> System:
    """The row of a system.

    Raises:
        ValueError: there is no such system.
    """
    if name not in SYSTEMS:
        raise ValueError(f"there is no system {name!r}; choose one of {', '.join(SYSTEMS)}")
    return SYSTEMS[name]


def fits(system: System, folder: Path) -> None:
    """Make sure that a folder holds a model of a system's architecture; that it is this very system nobody can tell.

    Raises:
        ValueError: it does not; the message says what it holds.
    """
    try:
        found = json.loads((folder / CONFIG).read_text(encoding="utf-8")).get("model_type", "t5")
    except (OSError, ValueError, AttributeError) as error:
        raise ValueError(f"{folder.name}: {CONFIG} cannot be read; copy the folder of {system.name} again") from error
    # Prompted, any decoder may stand in for the one that nobody can have.
    if system.model_type and found != system.model_type:
        raise ValueError(f"{folder.name}: holds a {found} model, {system.name} is a {system.model_type}; give its own folder")


def tiny(
    system: System, folder: Path, texts: Sequence[str], *, positions: int = 512, vocab_size: int = 512, seed: int = 0
) -> None:
    """Write a random model of a system's architecture: 2 layers, width 32, and a vocabulary learnt from `texts`.

    Args:
        system: whose architecture.
        folder: gets `config.json`, `model.safetensors` and `tokenizer.json`; made where missing.
        texts: to learn a vocabulary from, synthetic ones in tests.
        positions: that a window can have; a T5's are relative and without end.
        vocab_size: at most so many tokens, sentinels included.
        seed: of the weights.
    """
    import torch

    from pretrain.models import families

    folder.mkdir(parents=True, exist_ok=True)
    kind = system.model_type or "gpt2"
    size = _TOKENIZERS[kind](texts, vocab_size, folder / "tokenizer.json")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if kind == "t5":
            families.save_t5(_tiny_t5(size, system.is_gated), folder)
        else:
            _save(_tiny_other(kind, size, positions), folder)


def _tiny_t5(vocab_size: int, is_gated: bool) -> Any:
    import torch
    import transformers

    config = transformers.T5Config(
        vocab_size=vocab_size,
        d_model=32,
        d_ff=64,
        d_kv=8,
        num_heads=4,
        num_layers=2,
        feed_forward_proj="gated-gelu" if is_gated else "relu",
        scale_decoder_outputs=not is_gated,
        decoder_start_token_id=0,
    )
    model = transformers.T5ForConditionalGeneration._from_config(config, attn_implementation="eager")
    if is_gated:
        model.lm_head.weight = torch.nn.Parameter(torch.randn_like(model.lm_head.weight) * config.d_model**-0.5)
    return model


def _tiny_other(kind: str, vocab_size: int, positions: int) -> Any:
    import transformers

    from pretrain.models import encoders

    # In all of them 0 opens a text, 1 pads and 2 closes, as in RoBERTa: the vocabularies below begin that way.
    ends = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}
    if kind == "gpt2":
        config = transformers.GPT2Config(
            vocab_size=vocab_size, n_embd=32, n_layer=2, n_head=4, n_inner=64, n_positions=positions, **ends
        )
        return transformers.GPT2LMHeadModel._from_config(config, attn_implementation="eager")
    if kind == "modernbert":
        ends |= {"cls_token_id": 0, "sep_token_id": 2}
    family = encoders.FAMILIES[kind]
    config = getattr(transformers, family.config)(
        vocab_size=vocab_size,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        # RoBERTa counts its positions from behind the padding's.
        max_position_embeddings=positions + (2 if kind == "roberta" else 0),
        **ends,
    )
    return getattr(transformers, family.masked)._from_config(config, attn_implementation="eager")


def _save(model: Any, folder: Path) -> None:
    """As `save_pretrained` does, but for its progress bar: what is tied is written once."""
    from safetensors.torch import save_file

    weights = {name: tensor for name, tensor in model.state_dict().items() if name not in model._tied_weights_keys}
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)


def _unigram(texts: Sequence[str], vocab_size: int, path: Path) -> int:
    made = train(texts, vocab_size)
    made.save(path)
    return made.vocab_size


def _word_piece(texts: Sequence[str], vocab_size: int, path: Path) -> int:
    import tokenizers

    made = tokenizers.BertWordPieceTokenizer()
    specials = ["[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]"]
    made.train_from_iterator(texts, vocab_size, special_tokens=specials, show_progress=False)
    made.post_processor = tokenizers.processors.BertProcessing(("[SEP]", 2), ("[CLS]", 0))
    made.save(str(path))
    return int(made.get_vocab_size())


def _byte_level(specials: Sequence[str], between: str) -> Callable[[Sequence[str], int, Path], int]:
    """A maker of a byte-level BPE whose texts stand between the first and the third special token, and pairs as told."""

    def make(texts: Sequence[str], vocab_size: int, path: Path) -> int:
        import tokenizers

        made = tokenizers.ByteLevelBPETokenizer(trim_offsets=True)
        made.train_from_iterator(texts, vocab_size, special_tokens=list(specials), show_progress=False)
        opens, _, closes = specials[:3]
        made.post_processor = tokenizers.processors.TemplateProcessing(
            single=f"{opens} $A {closes}",
            pair=f"{opens} $A {between} $B {closes}",
            special_tokens=[(opens, 0), (closes, 2)],
        )
        made.save(str(path))
        return int(made.get_vocab_size())

    return make


_ROBERTA = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
_TOKENIZERS: dict[str, Callable[[Sequence[str], int, Path], int]] = {
    "t5": _unigram,
    "roberta": _byte_level(_ROBERTA, "</s> </s>"),
    "megatron-bert": _word_piece,
    "modernbert": _byte_level(("[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]"), "[SEP]"),
    "gpt2": _byte_level(_ROBERTA[:4], "</s>"),
}
"""Learns a vocabulary of the kind that a family has, writes it and returns its size."""
