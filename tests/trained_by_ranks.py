"""What `torchrun` starts twice in tests: the same twenty steps, shared between the processes, and the model with them or not."""

import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import distributed as processes
from transformers import BertConfig, BertModel

from pretrain import distributed, fsdp, held_out, trainer
from pretrain import tokenizer as tokenizers
from pretrain.checkpoints import Checkpoints
from pretrain.pretraining import DEV, TRAIN, continue_masked, follow
from pretrain.tokenizer import Tokenizer
from pretrain.trainer import Budget, Interrupted, Settings, StepReport, train
from tests.killed_training import documents
from tests.on_shards import pretrain_on, tokenize
from tests.unequal_batches import UnequalBatches, tiny_t5

HOW: dict[str, dict[str, Any]] = {"whole": {}, "sharded": {"shard_from_parameters": 0}}
"""Settings by which each process has the model, or a part of it."""


@contextmanager
def in_float32() -> Iterator[None]:
    """Sums come in another order where weights are sharded, and bfloat16 makes much of that; one thread, too."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with (
            patch.object(trainer, "computes_bf16", return_value=False),
            patch.object(held_out, "computes_bf16", return_value=False),
        ):
            yield
    finally:
        torch.set_num_threads(threads)


@in_float32()
def trained(
    rows: int, how: str, stop_at: int | None = None, **options: Any
) -> tuple[list[dict[str, Any]], dict[str, torch.Tensor], float]:
    """Twenty steps of eight rows, `rows` to a batch: reports, weights, and the share of them that is held here."""
    reports: list[StepReport] = []

    def on_step(report: StepReport) -> None:
        reports.append(report)
        if report.step == stop_at:
            os.kill(os.getpid(), signal.SIGTERM)

    model = tiny_t5()
    settings = Settings(learning_rate=5e-3, micro_batches=8 // rows, **HOW[how])
    train(model, UnequalBatches(rows), Budget(steps=20), settings, on_step=on_step, **options)
    weights = model.state_dict()
    held = sum((one.to_local() if how == "sharded" else one).numel() for one in weights.values())
    whole = {name: fsdp.whole(one) for name, one in weights.items()}
    return [asdict(report) for report in reports], whole, held / sum(one.numel() for one in whole.values())


def stopped_and_gone_on_with(folder: Path) -> dict[str, torch.Tensor]:
    """The same steps, sharded and stopped halfway, where a copy of the checkpoint is kept: the weights at the end."""
    checkpoints = Checkpoints(folder / "sharded")
    with suppress(Interrupted):
        trained(4, "sharded", stop_at=9, checkpoints=checkpoints)
    if distributed.is_main():
        shutil.copytree(folder / "sharded", folder / "halfway")
    processes.barrier()
    return trained(4, "sharded", checkpoints=checkpoints, resume=True)[1]


def stopped(folder: Path) -> dict[str, Any]:
    """The second process alone is told to stop; then the training is gone on with."""
    remarks: list[str] = []
    checkpoints, objective, settings = Checkpoints(folder / "checkpoints"), UnequalBatches(1), Settings(micro_batches=3)
    calls = 0

    class Stopping(UnequalBatches):
        def loss(self, model: torch.nn.Module, batch: Any) -> torch.Tensor:
            nonlocal calls
            calls += 1
            if distributed.rank() == 1 and calls == 5:  # in the third step, of two batches for each
                os.kill(os.getpid(), signal.SIGTERM)
            return super().loss(model, batch)

    try:
        train(tiny_t5(), Stopping(1), Budget(steps=9), settings, checkpoints=checkpoints, say=remarks.append)
        message = "not interrupted"
    except Interrupted as interrupted:
        message = str(interrupted)
    messages: list[str] = ["", ""]
    processes.all_gather_object(messages, message)
    progress = train(tiny_t5(), objective, Budget(steps=4), checkpoints=checkpoints, resume=True)
    return {"remarks": remarks, "interrupted": messages, "resumed": progress.micro_batches}


@in_float32()
def pretrained(folder: Path, how: str) -> None:
    """Six steps of two batches on seeded text, as every process of a training calls it."""
    if distributed.follows():
        follow()
        return
    texts = documents()
    vocabulary = tokenizers.train([document.text for document in texts], 256)
    settings = Settings(micro_batches=2, **HOW[how])
    result = pretrain_on(texts[:70], texts[70:], vocabulary, "mini", folder, Budget(steps=6), batch_tokens=256, settings=settings)
    figures = {"dev_loss": result.dev_loss, "tokens": result.tokens, "mfu_against": result.mfu_against}
    (folder / "figures.json").write_text(json.dumps(figures))


@in_float32()
def gone_on_masked(folder: Path, how: str) -> None:
    """The same with a tiny BERT that guesses masked words."""
    if distributed.follows():
        follow()
        return
    texts = documents()
    words = tokenizers.tokenizers.BertWordPieceTokenizer()
    words.train_from_iterator([document.text for document in texts], 200, show_progress=False)
    ends = [(token, words.token_to_id(token)) for token in ("[SEP]", "[CLS]")]
    words.post_processor = tokenizers.tokenizers.processors.BertProcessing(*ends)
    vocabulary = Tokenizer(words._tokenizer)
    torch.manual_seed(0)
    tiny = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    BertModel(BertConfig(vocab_size=vocabulary.vocab_size, **tiny)).save_pretrained(folder / "encoder")
    for part, some in ((TRAIN, texts[:70]), (DEV, texts[70:])):
        tokenize(folder / part, some, vocabulary)
    settings = Settings(learning_rate=4e-2, micro_batches=2, **HOW[how])
    continue_masked(vocabulary, folder / "encoder", folder, Budget(steps=6), batch_tokens=256, settings=settings)


def main(folder: Path) -> None:
    for how in HOW:
        pretrained(folder / "pretrained" / how, how)
        gone_on_masked(folder / "masked" / how, how)
    told = "from the first" if not distributed.follows() else ""
    with distributed.joined(told) as heard:
        assert heard == "from the first"
        for how in HOW:
            for rows in (4, 2):
                reports, weights, held = trained(rows, how)
                if reports or distributed.is_main():
                    (folder / f"rank-{distributed.rank()}-{how}-{rows}.json").write_text(json.dumps(reports))
                    torch.save(weights, folder / f"rank-{distributed.rank()}-{how}-{rows}.pt")
                (folder / f"held-{how}-{distributed.rank()}.json").write_text(json.dumps(held))
        weights, said = stopped_and_gone_on_with(folder), stopped(folder)
        if distributed.is_main():
            torch.save(weights, folder / "gone-on-with.pt")
            (folder / "said.json").write_text(json.dumps(said))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
