"""How the vocabulary does on the notes, beside another that `[training] compare_tokenizer` names."""

from appliance.training.request import TrainingError
from appliance.training.settings import TrainingConfig
from pretrain import bundle
from pretrain.corpus import Corpus
from pretrain.fertility import Fertility, measure
from pretrain.tokenizer import Tokenizer, TokenizerError

CHARACTERS = 1_000_000
"""Of held-out text are enough to measure on."""


def to_compare_with(config: TrainingConfig) -> dict[str, Tokenizer]:
    """The other vocabulary by the name of its folder; nothing where none is named.

    Raises:
        TrainingError: the folder that is named holds none.
    """
    folder = config.compare_tokenizer
    if folder is None:
        return {}
    try:
        return {folder.name: Tokenizer.load(folder / bundle.TOKENIZER)}
    except TokenizerError as error:
        raise TrainingError(
            f"[training] compare_tokenizer: {folder}: {error}. Name a folder with a T5's or a BERT's tokenizer.json, or none"
        ) from error


def fertility(corpus: Corpus, tokenizer: Tokenizer, config: TrainingConfig) -> list[Fertility]:
    """Of the vocabulary and of the other, on the same held-out documents; empty where none are held out."""
    texts = corpus.sample(CHARACTERS, held_out=True)
    vocabularies = {"this model's": tokenizer} | to_compare_with(config)
    return [measure(name, vocabulary, texts) for name, vocabulary in vocabularies.items()] if texts else []
