"""How fast and how well discharge summaries are tagged: this product, the paper's T5, and a plain encoder, of one encoder size.

    python tests/benchmarks/tagging.py --model HOME/models/q --labels gold.jsonl --notes mtsamples.jsonl --json
    python tests/benchmarks/tagging.py --model HOME/models/q --labels gold.jsonl --votes votes.jsonl --only f1 --json

`--model` is what `clinappliance train --notes ... --clip gold.jsonl --name q` made: its base is where all ways begin, and its
tagger is the one that is timed. `--notes` holds one JSON object a line with `text` and `kind`; summaries are those of kind
discharge_summary.

  ours     serving.predictor.Tagger over the compiled artifact: the note in long windows, each sentence pooled from its tokens
  encoder  transformers' encoder in float32 on the paper's window of 256 tokens per sentence, 32 of them in the order they come,
           padded to the longest; mean over positions, linear head
  t5       the paper's: the same windows, transformers' generate in float32, 5 beams, the labels written as text, 32 at a time

Four parts; `--only` takes one.
  f1       Each note is tagged by models taught with the notes of the other folds, the same folds for all. Where a model gives
           logits, calibration and cut-off are chosen on the other folds too: with two folds that is another model's logits, and
           a label that one half lacks spoils it. Paired differences by bootstrap over notes and seeds. The follow-up rules beside
           ours count as unseen only with `--votes`, as in follow_up.py. In-house labels: no CLIP scores.
  speed    The ways take turns in one process on one thread. A round draws a few summaries, and all ways tag these same ones, from
           the text to the tags: sentences, tokens, windows, model, answers read. Nothing is extrapolated. Counted is process CPU
           time, so that a loaded machine shifts all alike; the ratio is the median over rounds. T5 and encoder are those that
           part f1 taught (first seed, first fold), for how long an answer is decides what the paper's way costs.
  engines  Every engine of this host, by turns: summaries and real tokens a CPU second, all summaries in one call; padding; and
           how long one summary takes that comes alone, after each has come once.
  parity   The tagger's logits by each engine against torch's, on 200 notes, summaries first; and whether the tags are the same.

`--work` keeps the models that were taught, and what they said: what is there is not taught again.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from multiprocessing import get_context
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter, process_time
from typing import Any
from unittest.mock import patch

os.environ.update({"OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"})
sys.path.insert(0, str(Path(__file__).parents[2]))  # started as a script, it finds its own folder only

import numpy as np
import torch
from numpy.typing import NDArray

from appliance.publishing import SAMPLE_CHARACTERS
from appliance.training.tagger import EPOCHS_OF_FEW
from pretrain import bundle, labelling
from pretrain.budget import Budget
from pretrain.bundle import ModelBundle
from pretrain.devices import computes_bf16, keep_freed_memory
from pretrain.evaluation import folds
from pretrain.experiments import text_to_text
from pretrain.experiments.text_to_text import CLIP
from pretrain.finetuning import clip as clip_finetuning
from pretrain.finetuning.cross_fitting import logits_of
from pretrain.finetuning.learning import as_run
from pretrain.judging import calibrated
from pretrain.models.families import load_t5, save_t5
from pretrain.models.heads import TokenTagger
from pretrain.tasks import clip
from pretrain.tasks.base import LabelledNote, TaggedSpan
from pretrain.tokenizer import Tokenizer
from serving import engine as engines
from serving.compilation import compile_bundle
from serving.engine import ENGINES, OUTPUT, Engine
from serving.engines import openvino as openvino_engine
from serving.predictor import Tagger
from tests.benchmarks.follow_up import blind

ENCODER_EPOCHS, ENCODER_BATCH = 10, 32
STEPS_WITHOUT_RULES = 150
PARITY_NOTES = 200
WANTED = {"encoder": 25.0, "t5": 100.0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="folder of a model in a home, with its base and its tagger")
    parser.add_argument("--labels", type=Path, required=True, help="labelled notes (.jsonl)")
    parser.add_argument("--notes", type=Path, help="notes to tag (.jsonl); part f1 needs none")
    parser.add_argument("--votes", type=Path, help="of rules whose authors had not seen the labelled notes (.jsonl)")
    parser.add_argument("--only", choices=("f1", "speed", "engines", "parity"))
    parser.add_argument("--ways", nargs="+", choices=tuple(_TEACHERS), default=tuple(_TEACHERS), help="to measure in part f1")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--measured", type=int, help="only the first so many folds, of one seed; by default all")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument(
        "--window", type=int, default=CLIP.input_tokens, help="of T5 and encoder in part f1, to save time; speed is timed at 256"
    )
    parser.add_argument("--workers", type=int, default=1, help="folds taught side by side, a thread each")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--summaries", type=int, default=3, help="of a round of part speed")
    parser.add_argument("--work", type=Path, help="keeps what was taught")
    parser.add_argument("--json", action="store_true", help="one JSON object per line")
    options = parser.parse_args()
    if not options.notes and options.only != "f1":
        parser.error("give --notes, or --only f1")
    if options.measured and options.seeds > 1:
        parser.error("with several seeds all folds are measured, for each seed has its own")
    options.measured = options.measured or options.folds
    torch.set_num_threads(1)
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as scratch:
        options.work = options.work or Path(scratch) / "work"
        options.work.mkdir(parents=True, exist_ok=True)
        parts: dict[str, Callable[..., Iterator[dict[str, Any]]]] = {
            "f1": f1,
            "speed": speed,
            "engines": by_engine,
            "parity": parity,
        }
        for name, part in parts.items():
            if options.only in (None, name):
                for line in part(options, Path(scratch)):
                    print(json.dumps({"bench": "tagging", **line}) if options.json else _plain(line), flush=True)


def _plain(line: Mapping[str, Any]) -> str:
    value = "-" if line["value"] is None else f"{line['value']:,.4g}"
    ratio = f"  x{line['ratio']:.1f} of {line['baseline']}" if line["ratio"] else ""
    return f"{line['variant']:32} {value:>9} {line['metric']}{ratio}  ({line['note']})"


def _line(variant: str, metric: str, value: float | None, n: int, note: str, **more: Any) -> dict[str, Any]:
    return {"variant": variant, "metric": metric, "value": value, "baseline": None, "ratio": None, "n": n, "note": note, **more}


@dataclass(frozen=True)
class Model:
    """What all ways begin with, and the product's own tagger."""

    folder: Path
    window: int = CLIP.input_tokens
    """Positions of a window per sentence, of T5 and encoder."""

    @property
    def task(self) -> text_to_text.Task[LabelledNote, list[TaggedSpan]]:
        """The paper's."""
        return replace(CLIP, input_tokens=self.window)

    @cached_property
    def base(self) -> Path:
        """Folder of the pretrained T5."""
        return self._newest(bundle.BASE)

    @cached_property
    def tagger(self) -> ModelBundle:
        """Hashes checked."""
        return bundle.load(self._newest("clip"))

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """That of both."""
        return Tokenizer.load(self.base / bundle.TOKENIZER)

    def _newest(self, task: str) -> Path:
        return max((self.folder / task).iterdir(), key=lambda version: int(version.name))


# --- texts ---


def texts_of(path: Path) -> list[str]:
    """Every note, discharge summaries first."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    rows.sort(key=lambda row: row["kind"] != "discharge_summary")
    return [row["text"] for row in rows]


def summaries_of(path: Path) -> list[str]:
    """The discharge summaries."""
    rows = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return [row["text"] for row in rows if row["kind"] == "discharge_summary"]


def _sample(path: Path) -> list[str]:
    """What stands for the newest notes of a site when its tagger is compiled: none of those that are timed or compared."""
    others = texts_of(path)[len(summaries_of(path)) :][::-1]
    return others[: int(np.searchsorted(np.cumsum([len(text) for text in others]), SAMPLE_CHARACTERS))]


def unlabelled(texts: Sequence[str]) -> list[LabelledNote]:
    """As the paper's way takes notes."""
    notes = []
    for number, text in enumerate(texts):
        sentences = clip.sentences_of(text)
        notes.append(LabelledNote(str(number), text, sentences, (frozenset(),) * len(sentences), str(number)))
    return notes


# --- a plain encoder on a window per sentence ---


@dataclass(frozen=True)
class SentenceEncoder:
    """An encoder with a linear head on the mean of what it says about a window's positions."""

    model: Model
    tagger: TokenTagger

    @classmethod
    def taught(cls, model: Model, notes: Sequence[LabelledNote], learning_rate: float, seed: int) -> Any:
        """As transformers' scripts finetune: AdamW, the rate falling to 0, gradients of at most 1, binary cross-entropy."""
        sources = _sources(model, notes)
        truth_SL = torch.from_numpy(np.concatenate([clip.truth(note) for note in notes]).astype(np.float32))
        torch.manual_seed(seed)
        taught = cls(model, TokenTagger.from_pretrained(model.base, len(clip.LABELS)).train())
        steps = ENCODER_EPOCHS * -(-len(sources) // ENCODER_BATCH)
        optimizer = torch.optim.AdamW(taught.tagger.parameters(), learning_rate)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
        order = np.random.default_rng(seed)
        for _ in range(ENCODER_EPOCHS):
            for chosen in _batches(order.permutation(len(sources)), ENCODER_BATCH):
                with torch.autocast("cpu", torch.bfloat16, enabled=computes_bf16(torch.device("cpu"))):
                    logits_BL = taught.logits([sources[i] for i in chosen])
                torch.nn.functional.binary_cross_entropy_with_logits(logits_BL.float(), truth_SL[chosen]).backward()
                torch.nn.utils.clip_grad_norm_(taught.tagger.parameters(), 1.0)
                optimizer.step()
                optimizer.zero_grad()
                schedule.step()
        taught.tagger.eval()
        return taught

    def logits(self, sources: Sequence[NDArray[np.int64]]) -> torch.Tensor:
        """(B, L) of windows."""
        input_ids_BT, mask_BT = map(torch.from_numpy, clip.pad(sources))
        hidden_BTD = self.tagger.encoder(input_ids=input_ids_BT, attention_mask=mask_BT).last_hidden_state
        mean_BD = (hidden_BTD * mask_BT[..., None]).sum(1) / mask_BT.sum(1, keepdim=True)
        return self.tagger.head(self.tagger.dropout(mean_BD))

    def said(self, notes: Sequence[LabelledNote]) -> list[NDArray[np.float32]]:
        """Logits (S, L) of every note, the sentences of all of them in batches as they come."""
        batches = _batches(_sources(self.model, notes), ENCODER_BATCH)
        with torch.inference_mode():
            logits_SL = np.concatenate([self.logits(batch).numpy() for batch in batches])
        return np.split(logits_SL, np.cumsum([len(note.sentences) for note in notes])[:-1])


def _sources(model: Model, notes: Sequence[LabelledNote]) -> list[NDArray[np.int64]]:
    return [example.source for example in model.task.examples(notes, model.tokenizer, model.task, False)]


def _batches(things: Sequence[Any], size: int) -> list[Any]:
    return [things[at : at + size] for at in range(0, len(things), size)]


# --- F1 ---

Said = list[NDArray[np.float32]]
"""Of every note what a model says (S, L): logits, or of a T5 1 for each label that it wrote."""


def f1(options: argparse.Namespace, scratch: Path) -> Iterator[dict[str, Any]]:
    """A line per way and figure: its F1, and ours less its, paired."""
    notes = clip.read(options.labels)
    measured = sorted(i for part in folds(notes, options.folds, 0)[: options.measured] for i in part)
    gold = [notes[i] for i in measured]
    runs = {}
    for way in dict.fromkeys(("ours", *options.ways)):
        shown = [_run(options, notes, way, seed) for seed in range(options.seeds)]
        runs[way] = [[run[i] for i in measured] for run in shown]
    for way, said in runs.items():
        scores = [clip.score(gold, run) for run in said]
        against = clip.compare(gold, runs["ours"], said)
        for metric in ("micro_f1", "macro_f1", "binary_f1"):
            low, high = against[metric]["ci95"]
            yield _line(
                way,
                metric,
                against[metric]["theirs"],
                len(gold),
                f"{_TEACHERS[way].__doc__}; {options.seeds} seeds x {options.measured} of {options.folds} folds, "
                f"windows per sentence of {options.window}; ours less this "
                f"{against[metric]['difference']:+.3f}, 95 % {low:+.3f} to {high:+.3f}; in-house labels, no CLIP score",
                ci95=np.mean([score["ci95"][metric] for score in scores], axis=0).tolist(),
            )


def _run(options: argparse.Namespace, notes: Sequence[LabelledNote], way: str, seed: int) -> list[list[TaggedSpan]]:
    """What is shown of every note."""
    said: Said = [np.zeros((0, len(clip.LABELS)), np.float32)] * len(notes)
    # What gives no logits needs no other folds to choose a cut-off on.
    parts = folds(notes, options.folds, seed)[: options.measured if way == "t5" else None]
    with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool:
        found = list(pool.map(partial(said_of_fold, options, way, seed), range(len(parts))))
    for part, of_fold in zip(parts, found, strict=True):
        for i, said_SL in zip(part, of_fold, strict=True):
            said[i] = said_SL
    if way == "t5":
        return [clip.tagged(one, note.sentences, np.full(len(clip.LABELS), 0.5)) for one, note in zip(said, notes, strict=True)]
    evidence = blind(options.votes, notes) if options.votes else labelling.evidence
    beside = [evidence(note.text, note.sentences) for note in notes] if way == "ours" else None
    shown: list[list[TaggedSpan]] = [[] for _ in notes]
    for part in parts:
        others = sorted(set(range(len(notes))) - set(part))
        truth_SL = np.concatenate([clip.truth(notes[i]) for i in others])
        judge = calibrated(
            truth_SL, np.concatenate([said[i] for i in others]), beside and np.concatenate([beside[i] for i in others])
        )
        for i in part:
            shown[i] = clip.tagged(judge.weighed(said[i], beside and beside[i]), notes[i].sentences, judge.cutoffs)
    return shown


def said_of_fold(options: argparse.Namespace, way: str, seed: int, fold: int) -> Said:
    """What a model taught with the other folds' notes says about those of this one."""
    kept = options.work / f"{way}-{options.window}-{options.folds}-{seed}-{fold}"
    if not (kept / "said.npz").exists():
        keep_freed_memory()
        notes, model = clip.read(options.labels), Model(options.model, options.window)
        part = set(folds(notes, options.folds, seed)[fold])
        taught, asked = ([note for i, note in enumerate(notes) if (i in part) == is_asked] for is_asked in (False, True))
        evidence = blind(options.votes, notes) if options.votes else labelling.evidence
        kept.mkdir(exist_ok=True)
        began = process_time()
        with patch.object(clip_finetuning, "evidence", evidence):
            said = _TEACHERS[way](model, taught, asked, seed, kept)
        print(f"{kept.name}: {process_time() - began:.0f} s of CPU time", file=sys.stderr, flush=True)
        np.savez(kept / "said.npz", *said)
    with np.load(kept / "said.npz") as arrays:
        return [arrays[name] for name in arrays]


Teacher = Callable[[Model, list[LabelledNote], list[LabelledNote], int, Path], Said]


def _ours(model: Model, taught: list[LabelledNote], asked: list[LabelledNote], seed: int, kept: Path) -> Said:
    """as `finetune clip` does with few labels: beside the follow-up rules, calibrated"""
    return _tagger(model, taught, asked, seed, rules=True, epochs=EPOCHS_OF_FEW)


def _without_rules(model: Model, taught: list[LabelledNote], asked: list[LabelledNote], seed: int, kept: Path) -> Said:
    """the product's finetuning and long windows without its rules, 150 steps, calibrated"""
    return _tagger(model, taught, asked, seed, budget=Budget(steps=STEPS_WITHOUT_RULES))


def _tagger(model: Model, taught: list[LabelledNote], asked: list[LabelledNote], seed: int, **settings: Any) -> Said:
    tagger = clip_finetuning.finetune_clip(
        taught, [], model.tokenizer, encoder=model.base, window_tokens=clip.WINDOW_TOKENS, seed=seed, **settings
    )
    return logits_of(tagger, asked, model.tokenizer, clip.WINDOW_TOKENS)


def _encoder(model: Model, taught: list[LabelledNote], asked: list[LabelledNote], seed: int, kept: Path) -> Said:
    """a window per sentence, 10 epochs, AdamW at 1e-3, calibrated"""
    return _encoder_at(1e-3, model, taught, asked, seed, kept)


def _encoder_slow(model: Model, taught: list[LabelledNote], asked: list[LabelledNote], seed: int, kept: Path) -> Said:
    """a window per sentence, 10 epochs, AdamW at the paper's 5e-5, calibrated"""
    return _encoder_at(5e-5, model, taught, asked, seed, kept)


def _encoder_at(rate: float, model: Model, taught: list[LabelledNote], asked: list[LabelledNote], seed: int, kept: Path) -> Said:
    encoder = SentenceEncoder.taught(model, taught, rate, seed)
    for name, content in encoder.tagger.files().items():
        (kept / name).write_bytes(content)
    return encoder.said(asked)


def _t5(model: Model, taught: list[LabelledNote], asked: list[LabelledNote], seed: int, kept: Path) -> Said:
    """the paper's T5 and its recipe: Adafactor at 1e-4, 25 epochs, the last one"""
    # Without dev notes: macro-F1 on a few would choose the epoch by chance, and where it is 0 throughout the very first one,
    # whose model has not even learnt to come to an end.
    learned = text_to_text.finetune(model.task, model.base, model.tokenizer, taught, [], seed=seed)
    save_t5(learned.model, kept)
    said = []
    for note, spans in zip(asked, learned.predict(asked), strict=True):
        written = {(span.start, span.label) for span in spans}
        said.append(np.array([[(s.start, label) in written for label in clip.LABELS] for s in note.sentences], np.float32))
    return said


_TEACHERS: dict[str, Teacher] = {
    "ours": _ours,
    "without_rules": _without_rules,
    "encoder": _encoder,
    "encoder_slow": _encoder_slow,
    "t5": _t5,
}


# --- speed ---


@dataclass
class Counted:
    """An engine that counts what it is asked."""

    engine: Engine
    real: int = field(default=0, init=False)
    """Positions that are tokens."""
    padded: int = field(default=0, init=False)
    """All positions."""

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
        self.real += int(inputs["attention_mask"].sum())
        self.padded += inputs["attention_mask"].size
        return self.engine.run(inputs)

    def close(self) -> None:
        self.engine.close()


def speed(options: argparse.Namespace, scratch: Path) -> Iterator[dict[str, Any]]:
    """A line per way: its rate, and how often faster ours is."""
    model, summaries = Model(options.model), summaries_of(options.notes)
    for way in ("encoder", "t5"):
        said_of_fold(options, way, 0, 0)
    artifact = compile_bundle(model.tagger, scratch / "ours", notes=_sample(options.notes))
    ours = Tagger(model.tagger, artifact.open())
    encoder = SentenceEncoder(model, TokenTagger.load(options.work / f"encoder-{options.window}-{options.folds}-0-0"))
    t5 = load_t5(options.work / f"t5-{options.window}-{options.folds}-0-0").eval()
    # The library's own choice, and here the faster one where nothing is learnt.
    for theirs in (encoder.tagger.encoder, t5):
        theirs.set_attn_implementation("sdpa")
    written: list[int] = []

    def by_encoder(texts: Sequence[str]) -> None:
        notes = unlabelled(texts)
        for note, logits_SL in zip(notes, encoder.said(notes), strict=True):
            clip.decode(logits_SL, note.sentences, model.tagger.cutoffs)

    def by_t5(texts: Sequence[str]) -> None:
        for batch in _batches(_sources(model, unlabelled(texts)), CLIP.rows):
            for target in text_to_text.search(t5, model.tokenizer, CLIP, batch):
                written.append(len(target))
                text_to_text.read_labels(model.tokenizer.decode(target[:-1]))

    ways: dict[str, Callable[[Sequence[str]], object]] = {"ours": ours.tag, "encoder": by_encoder, "t5": by_t5}
    ours.tag(summaries)
    random = np.random.default_rng(0)
    spent: dict[str, list[float]] = {way: [] for way in ways}
    tagged = sentences = 0
    for number in range(-1, options.rounds):
        chosen = [summaries[i] for i in random.choice(len(summaries), options.summaries, replace=False)]
        for way in ways if number % 2 else reversed(ways):
            began = process_time()
            ways[way](chosen)
            # The first round is a warm-up.
            spent[way] += [process_time() - began] if number >= 0 else []
        if number < 0:
            written.clear()
            continue
        print({way: round(seconds[-1], 3) for way, seconds in spent.items()}, file=sys.stderr, flush=True)
        tagged, sentences = tagged + len(chosen), sentences + sum(len(clip.sentences_of(text)) for text in chosen)
    notes = {
        "ours": f"{artifact.engine} {artifact.precision}, windows of {model.tagger.manifest.window_tokens}, rules included",
        "encoder": "fp32, a window of 256 tokens per sentence, 32 at a time as they come",
        "t5": f"fp32, the same windows, {CLIP.beams} beams, {np.mean(written):.1f} tokens an answer, at most {max(written)}",
    }
    for way, seconds in spent.items():
        line = _line(way, "summaries per CPU second", tagged / sum(seconds), options.rounds, notes[way])
        if way != "ours":
            ratios = [its / mine for its, mine in zip(seconds, spent["ours"], strict=True)]
            line |= {"baseline": way, "ratio": median(ratios), "quartiles": quantiles(ratios, n=4)[::2], "wanted": WANTED[way]}
        line["note"] += f"; {tagged} summaries drawn, {sentences} sentences"
        yield line


# --- engines ---


@dataclass(frozen=True)
class Torch:
    """The tagger as it was taught, as an engine."""

    bundle: ModelBundle

    @cached_property
    def _run(self) -> Any:
        return as_run(TokenTagger.load(self.bundle.folder))

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
        return {OUTPUT: self._run(inputs["input_ids"], inputs["attention_mask"])}

    def close(self) -> None:
        pass


def opened(tagger: ModelBundle, scratch: Path, sample: Sequence[str]) -> tuple[dict[str, Engine], dict[str, str]]:
    """Every engine with the tagger in it, by name and precision, and why the others are not there.

    Only with a sample of notes is it compiled in 8 bits.
    """
    found: dict[str, Engine] = {"torch fp32": Torch(tagger)}
    absent = {}
    for name in ENGINES:
        module = engines.load(name)
        if reason := module.why_not():
            absent[name] = reason
            continue
        for notes in ((), sample) if module.INT8 else ((),):
            artifact = compile_bundle(tagger, scratch / f"{name}-{len(list(scratch.iterdir()))}", name, notes)
            found[f"{name} {artifact.precision}"] = artifact.open()
            if name == "openvino" and artifact.precision == "bf16":
                with patch.object(openvino_engine, "PRECISION", "fp32"):
                    found["openvino fp32"] = artifact.open()
    return found, absent


def by_engine(options: argparse.Namespace, scratch: Path) -> Iterator[dict[str, Any]]:
    """Lines for every engine: rate, padding, and what one summary takes."""
    tagger, summaries = Model(options.model).tagger, summaries_of(options.notes)
    found, absent = opened(tagger, scratch, _sample(options.notes))
    for name, reason in absent.items():
        yield _line(name, "summaries per CPU second", None, 0, reason)
    counted = {name: Counted(engine) for name, engine in found.items()}
    taggers = {name: Tagger(tagger, engine) for name, engine in counted.items()}
    rounds = max(1, options.rounds // 4)
    together: dict[str, list[float]] = {name: [] for name in taggers}
    alone: dict[str, list[tuple[float, float]]] = {name: [] for name in taggers}
    for number in range(-1, rounds):
        for name, way in taggers.items():
            counted[name].real = counted[name].padded = 0
            began = process_time()
            way.tag(summaries)
            together[name] += [process_time() - began] if number >= 0 else []
    padding = {name: (engine.padded, engine.real) for name, engine in counted.items()}
    for number in range(-1, rounds):
        for name, way in taggers.items():
            for text in summaries:
                began = perf_counter(), process_time()
                way.tag([text])
                took = perf_counter() - began[0], process_time() - began[1]
                alone[name] += [took] if number >= 0 else []
    for name, seconds in together.items():
        padded, real = padding[name]
        yield _line(
            name,
            "summaries per CPU second",
            len(summaries) / median(seconds),
            rounds,
            f"{real / median(seconds):,.0f} real tokens per CPU second; padded to real tokens {padded / real:.3f}; "
            f"{len(summaries)} summaries of {real / len(summaries):.0f} tokens in one call",
        )
        wall_ms, cpu_ms = (1000 * np.array(column) for column in zip(*alone[name], strict=True))
        for percent in (50, 99):
            note = f"{np.percentile(wall_ms, percent):.1f} ms by the clock; {len(summaries)} summaries one by one"
            yield _line(name, f"p{percent} CPU ms of one summary", float(np.percentile(cpu_ms, percent)), len(cpu_ms), note)


# --- parity ---


def parity(options: argparse.Namespace, scratch: Path) -> Iterator[dict[str, Any]]:
    """Lines for every engine: its logits against torch's, and its tags."""
    model, texts = Model(options.model), texts_of(options.notes)[:PARITY_NOTES]
    found, _ = opened(model.tagger, scratch, _sample(options.notes))
    notes = [clip.encode(text, model.tokenizer, model.tagger.manifest.window_tokens) for text in texts]
    expected = Answers.of(found.pop("torch fp32"), model.tagger, texts, notes)
    deviation, tags = expected.token_logits.std(), int(expected.shown.sum())
    # As many tags from the logits alone as with the rules, which decide most of them.
    cutoff = np.sort(expected.logits, axis=None)[-tags]
    for name, engine in found.items():
        own = Answers.of(engine, model.tagger, texts, notes)
        error_NL = np.abs(own.token_logits - expected.token_logits)
        yield _line(
            name,
            "largest |logit - torch's|",
            float(error_NL.max()),
            len(texts),
            f"{error_NL.max() / deviation:.2g} of the logits' standard deviation {deviation:.2f}; root mean square "
            f"{np.sqrt(np.mean(error_NL**2)) / deviation:.2g} of it; {len(error_NL):,} tokens x {error_NL.shape[1]} labels",
        )
        for what, ours_SL, theirs_SL in (
            ("sentences with the same tags", own.shown, expected.shown),
            ("the same without rules", own.logits >= cutoff, expected.logits >= cutoff),
        ):
            differ_SL = ours_SL != theirs_SL
            note = f"{differ_SL.any(1).sum()} of {len(differ_SL)} differ in any label; {differ_SL.sum()} tags of {tags}"
            yield _line(name, what, float(1 - differ_SL.any(1).mean()), len(differ_SL), note)


@dataclass(frozen=True)
class Answers:
    """What the tagger says by one engine, about all notes."""

    token_logits: NDArray[np.float32]
    """(N, L) of every token."""
    logits: NDArray[np.float32]
    """(S, L) of every sentence."""
    shown: NDArray[np.bool_]
    """(S, L), as the product shows it: calibrated, beside the rules."""

    @classmethod
    def of(cls, engine: Engine, tagger: ModelBundle, texts: Sequence[str], notes: Sequence[clip.EncodedNote]) -> "Answers":
        """Ask it about every note."""
        tokens, sentences, shown = [], [], []
        for text, note in zip(texts, notes, strict=True):
            input_ids_BT, attention_mask_BT = clip.pad(note.windows)
            said_BTL = engine.run({"input_ids": input_ids_BT, "attention_mask": attention_mask_BT})[OUTPUT]
            logits_SL = clip.sentence_logits(note, list(said_BTL))
            tokens.append(said_BTL[attention_mask_BT.astype(bool)])
            sentences.append(logits_SL)
            shown.append(tagger.judge.scores(logits_SL, text, note.sentences) >= tagger.judge.cutoffs)
        return cls(*map(np.concatenate, (tokens, sentences, shown)))


if __name__ == "__main__":
    main()
