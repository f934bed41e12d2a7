"""The paper's systems as rows, and every row's architecture learning (or prompted) from a folder to a score."""

import importlib
import json

import numpy as np
import pytest
import tokenizers
import transformers

from pretrain.experiments import trials
from pretrain.experiments.trials import FIGURES
from pretrain.models.systems import LOADED_BY, SYSTEMS, BySource, fits, system_named, tiny
from pretrain.splits import Labelled, Split
from pretrain.tasks.base import Question
from pretrain.tasks.mednli import Pair
from pretrain.text import Span
from pretrain.tokenizer import Tokenizer

PAPERS = [system for system in SYSTEMS.values() if system.printed]
CONTEXT = "IMPRESSION: Small left effusion. No pneumothorax."
QUESTIONS = [
    Question("q1", "Is there an effusion?", CONTEXT, (Span(12, 31),), "r1"),
    Question("q2", "Any rib fracture?", CONTEXT, (), "r1"),
]
PAIRS = [
    Pair("p1", "He denies chest pain.", "The patient reports chest pain.", "contradiction", "g1"),
    Pair("p2", "She takes metformin", "She is treated for diabetes", "entailment", "g2"),
    Pair("p3", "He was seen in May.", "He has gout.", "neutral", "g3"),
]
TEXTS = [CONTEXT, *(text for pair in PAIRS for text in (pair.premise, pair.hypothesis, pair.label))]


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def texts(notes):
    return [*TEXTS, *(note.text for note in notes)]


def test_the_papers_twelve_systems_are_rows_in_the_order_of_its_table_and_a_newer_encoder_follows():
    assert [system.name for system in PAPERS] == [
        "T5-Base",
        "Clinical-T5-Base-Ckpt",
        "Clinical-T5-Base",
        "RoBERTa-Large",
        "BioClinRoBERTa",
        "GatorTron",
        "T5-Large",
        "Clinical-T5-Large",
        "PubMedGPT",
        "T5-XL",
        "Flan-T5-XXL",
        "GPT-3",
    ]
    assert [system.name for system in SYSTEMS.values() if not system.printed] == ["ModernBERT-Large"]


def test_exactly_five_printed_cells_lack_the_factor_6_and_all_others_are_6pt():
    wrong = []
    for system in PAPERS:
        for kind in ("general", "biomedical", "clinical"):
            printed, ours = getattr(system.printed_flops, kind), getattr(system.flops, kind)
            if not printed or not ours:
                assert printed == ours or system.printed_flops == BySource(None, None, None)
            elif abs(ours / printed - 1) > 0.04:  # two printed digits
                assert ours / printed == pytest.approx(6, rel=0.03)  # T5-XL's 1e20 has one digit
                wrong.append((system.name, kind))
    assert sorted(wrong) == [
        ("Flan-T5-XXL", "biomedical"),
        ("Flan-T5-XXL", "general"),
        ("GatorTron", "general"),
        ("T5-Large", "general"),
        ("T5-XL", "general"),
    ]


def test_what_nobody_told_is_no_zero():
    assert system_named("GPT-3").flops == BySource(None, None, None)
    assert system_named("RoBERTa-Large").flops.clinical == 0


@pytest.mark.parametrize(
    ("best", "figure"),
    [
        ("BioClinRoBERTa", "mednli_accuracy"),
        ("BioClinRoBERTa", "radqa_em"),
        ("PubMedGPT", "clip_micro_f1"),
        ("BioClinRoBERTa", "clip_macro_f1"),
    ],
)
def test_the_best_system_of_a_printed_column_is_the_one_that_the_paper_prints_in_bold(best, figure):
    assert max(PAPERS, key=lambda system: getattr(system.printed, figure)).name == best


@pytest.mark.parametrize("path", LOADED_BY.values())
def test_what_a_row_says_reads_its_folder_is_there(path):
    module, *names = path.split(".")
    found = importlib.import_module(module)
    for name in names:
        found = getattr(found, name, None) or importlib.import_module(f"{found.__name__}.{name}")
    assert callable(found)


def test_an_unknown_system_names_the_known_ones():
    with pytest.raises(ValueError, match="no system 'T6'; choose one of T5-Base, Clinical-T5-Base-Ckpt"):
        system_named("T6")


def test_a_folder_of_another_architecture_does_not_fit_and_any_decoder_stands_in_for_gpt3(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(ValueError, match="holds a llama model, GatorTron is a megatron-bert"):
        fits(system_named("GatorTron"), tmp_path)
    fits(system_named("GPT-3"), tmp_path)
    (tmp_path / "config.json").write_text("[")
    with pytest.raises(ValueError, match=r"config.json cannot be read; copy the folder of GPT-3 again"):
        fits(system_named("GPT-3"), tmp_path)


KINDS = {
    "T5-Base": ("Unigram", "T5ForConditionalGeneration", (), 1),
    "RoBERTa-Large": ("BPE", "RobertaForMaskedLM", (0,), 2),
    "GatorTron": ("WordPiece", "MegatronBertForMaskedLM", (0,), 2),
    "PubMedGPT": ("BPE", "GPT2LMHeadModel", (0,), 2),
    "ModernBERT-Large": ("BPE", "ModernBertForMaskedLM", (0,), 2),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_tiny_model_is_of_the_systems_architecture_with_a_tokenizer_of_its_kind(name, tmp_path, texts):
    algorithm, architecture, opens, closes = KINDS[name]
    tiny(system_named(name), tmp_path, texts)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors", "tokenizer.json"]
    fits(system_named(name), tmp_path)
    config = transformers.AutoConfig.from_pretrained(tmp_path)
    assert (config.architectures, config.num_hidden_layers, config.hidden_size) == ([architecture], 2, 32)
    made = Tokenizer.load(tmp_path / "tokenizer.json")
    assert (made.prefix_ids, made.eos_id, made.vocab_size) == (opens, closes, config.vocab_size)
    assert type(tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json")).model).__name__ == algorithm
    # None of its words is unknown.
    assert made.unk_id not in made.encode("See cardiology in two weeks.").ids


def test_the_same_seed_gives_the_same_tiny_model(tmp_path, texts):
    for folder, seed in (("one", 0), ("same", 0), ("other", 1)):
        tiny(system_named("GatorTron"), tmp_path / folder, texts, seed=seed)
    one, same, other = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "same", "other"))
    assert one == same != other


@pytest.fixture
def examples(make_notes):
    notes = make_notes(8)
    return {
        "mednli": Labelled("mednli", [Split(PAIRS, PAIRS[:1], PAIRS)], "here"),
        "radqa": Labelled("radqa", [Split(QUESTIONS, QUESTIONS[:1], QUESTIONS)], "here"),
        "clip": Labelled("clip", [Split(notes[:4], notes[4:6], notes[6:8])], "here"),
    }


@pytest.mark.parametrize("task", FIGURES)
@pytest.mark.parametrize("system", SYSTEMS.values(), ids=SYSTEMS)
def test_a_system_goes_from_a_folder_to_the_figures_that_the_paper_prints(system, task, tmp_path, texts, examples):
    tiny(system, tmp_path, texts, positions=1024)
    trial = trials.run(system, tmp_path, examples[task], seed=1, effort=trials.TASTE)
    assert (trial.system, trial.task, trial.is_full) == (system.name, task, False)
    assert all(0 <= trial.of(figure) <= 1 for figure in FIGURES[task])
    # What it adds up from gives the figure again.
    again = trials.figure_of(task, np.sum(trial.sums, axis=0)[None])
    assert again[0] == pytest.approx(trial.of(trials.FIGURE[task]))
    # What is only asked spends nothing on learning.
    assert (trial.finetuning_flops > 0) == (trial.finetuning_tokens > 0) == (system.learns != "prompting")
