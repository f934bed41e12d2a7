"""What `torchrun` starts twice in tests: the same twenty steps, shared between the processes."""

import json
import os
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import distributed as processes
from transformers import BertConfig, BertModel

from pretrain import distributed, trainer
from pretrain import tokenizer as tokenizers
from pretrain.checkpoints import Checkpoints
from pretrain.pretraining import DEV, TRAIN, continue_masked, follow
from pretrain.tokenizer import Tokenizer
from pretrain.trainer import Budget, Interrupted, Settings, StepReport, train
from tests.killed_training import documents
from tests.on_shards import pretrain_on, tokenize
from tests.unequal_batches import UnequalBatches, tiny_t5


def trained(rows: int) -> tuple[list[dict[str, Any]], dict[str, torch.Tensor]]:
    """Twenty steps of eight rows, `rows` to a batch, in float32."""
    computes, threads = trainer.computes_bf16, torch.get_num_threads()
    trainer.computes_bf16 = lambda device: False
    torch.set_num_threads(1)
    reports: list[StepReport] = []
    model = tiny_t5()
    settings = Settings(learning_rate=5e-3, micro_batches=8 // rows)
    try:
        train(model, UnequalBatches(rows), Budget(steps=20), settings, on_step=reports.append)
    finally:
        trainer.computes_bf16 = computes
        torch.set_num_threads(threads)
    return [asdict(report) for report in reports], model.state_dict()


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


def pretrained(folder: Path) -> None:
    """Six steps of two batches on seeded text, as every process of a training calls it."""
    if distributed.follows():
        follow()
        return
    texts = documents()
    vocabulary = tokenizers.train([document.text for document in texts], 256)
    settings = Settings(micro_batches=2)
    result = pretrain_on(texts[:70], texts[70:], vocabulary, "mini", folder, Budget(steps=6), batch_tokens=256, settings=settings)
    figures = {"dev_loss": result.dev_loss, "tokens": result.tokens, "mfu_against": result.mfu_against}
    (folder / "figures.json").write_text(json.dumps(figures))


def gone_on_masked(folder: Path) -> None:
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
    settings = Settings(learning_rate=4e-2, micro_batches=2)
    continue_masked(vocabulary, folder / "encoder", folder, Budget(steps=6), batch_tokens=256, settings=settings)


def main(folder: Path) -> None:
    pretrained(folder / "pretrained")
    gone_on_masked(folder / "masked")
    told = "from the first" if not distributed.follows() else ""
    with distributed.joined(told) as heard:
        assert heard == "from the first"
        for rows in (4, 2):
            reports, weights = trained(rows)
            if reports or distributed.is_main():
                (folder / f"rank-{distributed.rank()}-{rows}.json").write_text(json.dumps(reports))
                torch.save(weights, folder / f"rank-{distributed.rank()}-{rows}.pt")
        said = stopped(folder)
        if distributed.is_main():
            (folder / "said.json").write_text(json.dumps(said))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
