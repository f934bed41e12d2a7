"""How many tokens a core learns from in a second: transformers' Trainer, nanoT5's recipe and this product, by turns.

    python tests/benchmarks/pretraining.py --json
    python tests/benchmarks/pretraining.py --device cuda --json

On a CPU: the same T5 (size small, 16,384 tokens), notes of log-normal length (median 250 tokens, mean 430, none above
3,000), windows of 512 and 114 positions, one thread. Each recipe trains in a process of its own; one runs while the others
wait, in changing order. Counted are real tokens - read and written, padding not - per second of process CPU time, so that a
loaded machine shifts all alike. Each first trains for 100 seconds that are not counted, in which code is compiled and the memory
of all shapes is touched for the first time. The ratio is the median over rounds of ours to theirs in the same round.

  trainer     transformers' Trainer at its defaults: float32, 8 notes a batch, padded to the longest, its own attention
  nanot5      notes concatenated and cut (they see each other), bfloat16 autocast, torch.compile, AdamW as nanoT5 writes it
  nanot5_fused  the same, but its optimizer is ours
  ours        pretrain.trainer.train as `clinappliance train` calls it: notes kept apart
With --levers also ours without single parts:
  hf_forward  transformers' forward pass, eager attention
  hf_compiled the same, its blocks compiled
  remap       freed memory goes back to the kernel, as is the C library's default

On a GPU: size base, 512/114, through pretrain.trainer.train with data loading and checkpoints, and MFU with its denominator.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import NormalDist, median, quantiles
from types import SimpleNamespace
from typing import Any

import numpy as np

VOCABULARY = 16_384
SENTINELS = 100
NOTES = 4_000
WINDOW, RAW = 512, 568
WARM_UP_S = 100.0
"""Of CPU time."""
BUDGETED = 10**9
"""Steps that no benchmark reaches."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object per line")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=8.0, help="of CPU time, for each recipe in a round")
    parser.add_argument("--levers", action="store_true", help="also without single parts")
    parser.add_argument("--recipe", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.recipe:
        _pupil(options.recipe, options.seconds)
        return 0
    lines = on_gpu() if options.device == "cuda" else on_cpu(options.rounds, options.seconds, options.levers)
    for line in lines:
        print(json.dumps(line) if options.json else _plain(line), flush=True)
    return 0


def _plain(line: dict[str, Any]) -> str:
    value = "-" if line["value"] is None else f"{line['value']:,.0f}"
    ratio = f"  x{line['ratio']:.2f} of {line['baseline']}" if line.get("ratio") else ""
    return f"{line['variant']:13} {value:>12} {line['metric']}{ratio}  ({line['note']})"


# --- CPU: recipes by turns ---


def on_cpu(rounds: int, seconds: float, levers: bool) -> Iterator[dict[str, Any]]:
    """A line per recipe: its median rate, and how often faster ours is, with quartiles over the rounds."""
    names = [name for name in RECIPES if levers or name in ("ours", "trainer", "nanot5", "nanot5_fused")]
    pupils = {name: _started(name, seconds) for name in names}
    for name in names:
        print(f"{name} is ready: {_turn(pupils[name])['rate']:,.0f} tokens/s", file=sys.stderr, flush=True)
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for number in range(rounds):
        for name in names if number % 2 else reversed(names):
            found[name].append(_turn(pupils[name]))
    for pupil in pupils.values():
        pupil.stdin.close()
        pupil.wait()
    for name in names:
        rates, ours = ([turn["rate"] for turn in found[one]] for one in (name, "ours"))
        ratios = [mine / theirs for mine, theirs in zip(ours, rates, strict=True)]
        yield {
            "bench": "pretraining",
            "variant": name,
            "metric": "real tokens per CPU second",
            "value": round(median(rates), 1),
            "baseline": None if name == "ours" else name,
            "ratio": None if name == "ours" else round(median(ratios), 3),
            "quartiles": None if name == "ours" else [round(quartile, 3) for quartile in quantiles(ratios, n=4)[::2]],
            "n": rounds,
            "note": f"{RECIPES[name].__doc__}; peak memory {max(turn['peak_mb'] for turn in found[name]):.0f} MB",
        }


def _started(recipe: str, seconds: float) -> Any:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    command = [sys.executable, str(Path(__file__).resolve()), "--recipe", recipe, "--seconds", str(seconds)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
    return subprocess.Popen(command, env=environment, cwd=Path(__file__).resolve().parents[2], **pipes)


def _turn(pupil: Any) -> dict[str, float]:
    pupil.stdin.write("go\n")
    return json.loads(pupil.stdout.readline())


class Turns:
    """Told of every step, it waits where a turn is over, and ends the process when no more are asked for."""

    def __init__(self, seconds: float) -> None:
        self._begin, self._asked_s, self._seconds = 0.0, WARM_UP_S, seconds
        # Whatever else writes to stdout goes to stderr.
        self._out = os.fdopen(os.dup(1), "w", buffering=1)
        os.dup2(2, 1)
        self._tokens = 0

    def wait(self) -> None:
        """Until it is this one's turn."""
        if not sys.stdin.readline():
            sys.exit()
        self._begin, self._tokens = time.process_time(), 0

    def step(self, tokens: int) -> None:
        """A step with so many real tokens is done."""
        self._tokens += tokens
        spent = time.process_time() - self._begin
        if spent >= self._asked_s:
            import resource

            peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            self._out.write(json.dumps({"rate": self._tokens / spent, "peak_mb": peak_mb}) + "\n")
            self._asked_s = self._seconds
            self.wait()


def _pupil(recipe: str, seconds: float) -> None:
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    import torch

    torch.set_num_threads(1)
    turns = Turns(seconds)
    turns.wait()
    RECIPES[recipe](notes(), turns)


def notes() -> list[np.ndarray]:
    """Token ids as frequent as words are (Zipf), never a sentinel; of log-normal length, median 250, mean 430, most 3,000."""
    random = np.random.default_rng(0)
    ranks = [NormalDist().inv_cdf((number + 0.5) / NOTES) for number in random.permutation(NOTES)]
    lengths = np.clip(250 * np.exp(1.08 * np.array(ranks)), 10, 3000).astype(int)
    return [(random.zipf(1.2, length) % (VOCABULARY - SENTINELS - 3) + 3).astype(np.int32) for length in lengths]


def new_model(seed: int = 0) -> Any:
    from pretrain.models.families import new_t5

    return new_t5("small", VOCABULARY, seed)


def corrupted(tokens: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """T5's objective for one text, the same code for all recipes."""
    from pretrain.span_corruption import corrupt, noise_mask

    return corrupt(tokens, noise_mask(len(tokens), random), VOCABULARY - 1)


def trainer(texts: list[np.ndarray], turns: Turns) -> None:
    """transformers' Trainer at its defaults"""
    import torch
    from transformers import T5ForConditionalGeneration, Trainer, TrainerCallback, TrainingArguments

    random = np.random.default_rng(0)
    pieces = [text[begin : begin + RAW] for text in texts for begin in range(0, len(text), RAW)]
    sizes: list[int] = []

    def collate(rows: list[np.ndarray]) -> dict[str, torch.Tensor]:
        sources, targets = zip(*(corrupted(row, random) for row in rows), strict=True)
        sizes.append(sum(map(len, sources)) + sum(map(len, targets)))
        pad = partial(torch.nn.utils.rnn.pad_sequence, batch_first=True)
        inputs = pad([torch.from_numpy(row) for row in sources])
        mask = pad([torch.ones(len(row), dtype=torch.long) for row in sources])
        return {
            "input_ids": inputs,
            "attention_mask": mask,
            "labels": pad(list(map(torch.from_numpy, targets)), padding_value=-100),
        }

    class Told(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
            turns.step(sizes.pop(0))

    # Otherwise its loss is not divided by what it should be where batches are accumulated.
    T5ForConditionalGeneration.accepts_loss_kwargs = False
    model = new_model()
    model.set_attn_implementation("sdpa")  # the library's own choice
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder, max_steps=BUDGETED, use_cpu=True, save_strategy="no", report_to=[], disable_tqdm=True
        )
        Trainer(model=model, args=arguments, train_dataset=pieces, data_collator=collate, callbacks=[Told()]).train()


def nanot5(texts: list[np.ndarray], turns: Turns) -> None:
    """concatenated and cut, bfloat16, compiled, its own optimizer"""
    import torch

    class AdamWScale(torch.optim.Optimizer):
        """Adam whose rate is in proportion to a tensor's size, an operation at a time, as nanoT5 has it (Nawrot 2023)."""

        @torch.no_grad()
        def step(self) -> None:
            for tensor in self.param_groups[0]["params"]:
                state = self.state[tensor]
                if not state:
                    state |= {"step": 0, "mean": torch.zeros_like(tensor), "square": torch.zeros_like(tensor)}
                state["step"] += 1
                state["mean"].mul_(0.9).add_(tensor.grad, alpha=0.1)
                state["square"].mul_(0.999).addcmul_(tensor.grad, tensor.grad, value=0.001)
                rate = 1e-3 * (1 - 0.999 ** state["step"]) ** 0.5 / (1 - 0.9 ** state["step"])
                rate *= max(1e-3, float(tensor.norm()) / tensor.numel() ** 0.5)
                tensor.addcdiv_(state["mean"], state["square"].sqrt().add_(1e-6), value=-rate)

    model = new_model()
    optimizer = AdamWScale(model.parameters(), {})

    def update() -> None:
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    _concatenated(texts, turns, model, update)


def nanot5_fused(texts: list[np.ndarray], turns: Turns) -> None:
    """concatenated and cut, bfloat16, compiled, our optimizer"""
    from pretrain.optimizer import new_optimizer, update

    model = new_model()
    optimizer = new_optimizer(model, (0.9, 0.98), 0.0)
    _concatenated(texts, turns, model, lambda: update(optimizer, 1e-3, 1.0))


def _concatenated(texts: list[np.ndarray], turns: Turns, model: Any, update: Callable[[], Any]) -> None:
    import torch

    random = np.random.default_rng(0)
    stream = np.concatenate(texts)
    chunks = stream[: len(stream) // RAW * RAW].reshape(-1, RAW)
    rows = _cpu_batch() // WINDOW
    run = torch.compile(model, dynamic=False)
    while True:
        chosen = chunks[random.integers(0, len(chunks), rows)]
        sources, targets = zip(*(corrupted(row, random) for row in chosen), strict=True)
        inputs, labels = torch.from_numpy(np.stack(sources)), torch.from_numpy(np.stack(targets))
        with torch.autocast("cpu", torch.bfloat16):
            loss = run(input_ids=inputs, labels=labels).loss
        model.zero_grad(set_to_none=True)
        loss.backward()
        update()
        loss.item()
        turns.step(inputs.numel() + labels.numel())


def _cpu_batch() -> int:
    from pretrain.pretraining import BATCH_TOKENS

    return BATCH_TOKENS["cpu"]


def _trained(texts: list[np.ndarray], turns: Turns, prepare: Callable[[Any], None] = lambda model: None) -> None:
    from pretrain import shards
    from pretrain.objective import SpanCorruption
    from pretrain.trainer import Budget, train

    model, seen = new_model(), 0

    def told(report: Any) -> None:
        nonlocal seen
        turns.step(report.tokens - seen)
        seen = report.tokens

    with tempfile.TemporaryDirectory() as folder:
        shard = shards.write(Path(folder) / "shard", texts, VOCABULARY)
        objective = SpanCorruption(shard, _Sentinels, model.config, _cpu_batch(), seed=0)
        prepare(model)
        train(model, objective, Budget(steps=BUDGETED), on_step=told)


_Sentinels: Any = SimpleNamespace(sentinel_id=lambda number: VOCABULARY - 1 - number)
"""All that an objective asks of a tokenizer."""


def ours(texts: list[np.ndarray], turns: Turns) -> None:
    """pretrain.trainer.train, notes kept apart"""
    from pretrain.devices import use_all_cores

    use_all_cores()
    _trained(texts, turns)


def remap(texts: list[np.ndarray], turns: Turns) -> None:
    """ours, but freed memory goes back to the kernel"""
    _trained(texts, turns)


def hf_forward(texts: list[np.ndarray], turns: Turns) -> None:
    """ours with transformers' forward pass, eager attention"""
    from pretrain.devices import keep_freed_memory
    from pretrain.models import t5_on_cpu

    keep_freed_memory()
    t5_on_cpu.fits = lambda model: False
    _trained(texts, turns)


def hf_compiled(texts: list[np.ndarray], turns: Turns) -> None:
    """ours with transformers' forward pass, its blocks compiled for every length"""
    from pretrain.devices import keep_freed_memory
    from pretrain.models import t5_on_cpu

    keep_freed_memory()
    t5_on_cpu.fits = lambda model: False

    def compile_blocks(model: Any) -> None:
        for block in (*model.encoder.block, *model.decoder.block):
            block.compile(dynamic=True)

    _trained(texts, turns, compile_blocks)


RECIPES: dict[str, Callable[[list[np.ndarray], Turns], None]] = {
    recipe.__name__: recipe for recipe in (ours, trainer, nanot5, nanot5_fused, hf_forward, hf_compiled, remap)
}


# --- GPU ---


def on_gpu(seconds: float = 240.0, warm_up_s: float = 120.0) -> Iterator[dict[str, Any]]:
    """One line: what size base sustains, compilation left out and everything else counted, checkpoints too."""
    import torch

    line: dict[str, Any] = {"bench": "pretraining", "variant": "cuda", "metric": "model FLOP/s", "value": None, "baseline": None}
    if not torch.cuda.is_available():
        yield line | {"ratio": None, "n": 0, "note": "there is no GPU here"}
        return
    from pretrain import shards
    from pretrain.checkpoints import Checkpoints
    from pretrain.devices import best_device, compiled
    from pretrain.models.families import attention, new_t5
    from pretrain.objective import SpanCorruption
    from pretrain.pretraining import BATCH_TOKENS
    from pretrain.throughput import ceiling
    from pretrain.trainer import Budget, Settings, train

    device = best_device()
    model = new_t5("base", VOCABULARY, 0).to(device)
    model.set_attn_implementation(attention(device.type))
    compiled(model, device)
    seen: list[tuple[float, int]] = []
    with tempfile.TemporaryDirectory() as folder:
        shard = shards.write(Path(folder) / "shard", notes(), VOCABULARY)
        objective = SpanCorruption(shard, _Sentinels, model.config, BATCH_TOKENS["cuda"], seed=0, packed=True)
        train(
            model,
            objective,
            Budget(seconds=seconds),
            Settings(save_every_s=60.0),
            on_step=lambda report: seen.append((time.monotonic(), report.tokens)),
            checkpoints=Checkpoints(Path(folder) / "kept"),
        )
        tokens, flops = map(sum, zip(*map(objective.cost, objective.first(8)), strict=True))
    # The last step of the warm-up, and the last of all.
    first = next(entry for entry in seen if entry[0] - seen[0][0] >= warm_up_s)
    took_s, learned = seen[-1][0] - first[0], seen[-1][1] - first[1]
    rate, most = learned / took_s * flops / tokens, ceiling(device)
    yield line | {
        "value": rate,
        "ratio": round(rate / most.flops_per_s, 3),
        "baseline": most.name,
        "n": len(seen) - seen.index(first),
        "note": f"{rate / 1e12:.0f} TFLOP/s of matrix products for real tokens, {rate / most.flops_per_s:.1%} of {most.name}; "
        f"{learned / took_s:,.0f} real tokens/s over {took_s:.0f} s, loading and checkpoints included",
    }


if __name__ == "__main__":
    sys.exit(main())
