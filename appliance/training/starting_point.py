"""The model that a training goes on from: what kind it is, and whether it can be gone on from at all."""

import json

from appliance.training.request import Request, TrainingError
from pretrain import bundle, shards
from pretrain.tokenizer import Tokenizer

_NEEDS = "it needs config.json, model.safetensors and tokenizer.json as transformers writes them"


def is_t5(request: Request) -> bool:
    """Whether the model fills in spans; else it guesses masked words.

    Raises:
        TrainingError: the folder to go on from holds no model.
    """
    if request.begin_from is None:
        return True
    try:
        return bool(json.loads((request.begin_from / bundle.CONFIG).read_text(encoding="utf-8"))["model_type"] == "t5")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(f"{request.begin_from} holds no model to go on from ({type(error).__name__}); {_NEEDS}") from None


def check(request: Request) -> None:
    """Load the model to go on from as pretraining will, before the hours in which the export is read.

    Raises:
        TrainingError: the folder holds no model, no tokenizer, or two that cannot be gone on from.
    """
    if request.begin_from is None:
        return
    fills_spans = is_t5(request)
    # With torch behind them, which takes seconds to load: most trainings begin with random weights.
    from pretrain.pretraining import encoder_to_teach, t5_to_teach

    try:
        tokenizer = Tokenizer.load(request.begin_from / bundle.TOKENIZER)
        shards.require_16_bits(tokenizer.vocab_size)
        if fills_spans:
            tokenizer.sentinel_id(0)
            t5_to_teach(request.begin_from, tokenizer)
        else:
            _ = tokenizer.mask_id
            encoder_to_teach(request.begin_from, tokenizer)
    except ValueError as error:
        raise TrainingError(f"{request.begin_from} cannot be gone on from: {error}. In all, {_NEEDS}") from error
