"""The tagger: the base finetuned on labelled notes, measured on patients it has not seen, exported and registered."""

import json
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version as package_version
from pathlib import Path

from appliance.home import Home
from appliance.registry import Entry, Registry
from appliance.training.labels import KEPT_OUT, SEEN, digest
from appliance.training.registering import register
from appliance.training.request import Request, TrainingError, Watch
from pretrain import bundle
from pretrain.budget import Budget
from pretrain.bundle import Manifest, ModelBundle
from pretrain.evaluation import hold_out
from pretrain.tasks import clip
from pretrain.tasks.base import LabelledNote
from pretrain.tokenizer import Tokenizer

MEASURED_SHARE = 0.2
"""Of labelled patients, kept apart to measure on; of the rest, the same share chooses epoch and cut-offs."""


def make_tagger(
    home: Home,
    request: Request,
    base: Entry,
    labelled: Sequence[LabelledNote],
    work: Path,
    budget: Budget,
    watch: Watch,
    *,
    by_rules: bool = False,
) -> Entry:
    """Finetune the base on the labelled notes, measure it on others of them, and register it.

    What rules have labelled measures nothing: how like the rules a tagger is says little of how right it is.
    """
    from pretrain.evaluation import evaluate as measure
    from pretrain.finetuning.clip import finetune_clip
    from pretrain.model_card import model_card
    from pretrain.onnx_export import export, probe

    watch.phase(f"Finetuning the tagger on {len(labelled)} labelled notes")
    rest, measured = (labelled, []) if by_rules else hold_out(labelled, MEASURED_SHARE, request.seed)
    taught, dev = hold_out(rest, MEASURED_SHARE, request.seed + 1)
    opened = bundle.load(base.folder)
    tokenizer = Tokenizer.load(opened.tokenizer)
    tagger = finetune_clip(
        taught,
        dev,
        tokenizer,
        size=request.size,
        encoder=base.folder,
        window_tokens=opened.manifest.window_tokens,
        budget=budget,
        seed=request.seed,
        on_step=watch.step,
    )
    if tagger.interrupted:
        raise TrainingError(f"interrupted while finetuning; {base.reference} is kept, and --resume finetunes it again")
    metrics = measure(tagger.run, tokenizer, tagger.cutoffs, measured, opened.manifest.window_tokens) if measured else {}
    watch.phase("Exporting")
    teachers = "notes that follow-up rules labelled, no person," if by_rules else "labelled notes,"
    manifest = Manifest(
        name=request.name,
        task="clip",
        version=1,
        size=opened.manifest.size,
        labels=clip.LABELS,
        cutoffs=tuple(float(c) for c in tagger.cutoffs),
        window_tokens=opened.manifest.window_tokens,
        metrics=metrics,
        flops=opened.manifest.flops | tagger.flops,
        corpus_fingerprint=opened.manifest.corpus_fingerprint,
        taught_by=f"{len(taught)} {teachers} {len(dev)} more to choose epoch and cut-offs; base {base.reference}",
        leak_gate=opened.manifest.leak_gate,
        created_at=datetime.now(UTC),
        package_version=package_version("clinappliance"),
    )
    with tempfile.TemporaryDirectory(dir=home.corpora) as scratch:
        graph = Path(scratch) / bundle.ONNX
        export(tagger.model, graph)
        contents: dict[str, bytes | Path] = {
            **tagger.model.files(),
            bundle.ONNX: graph,
            bundle.PROBE: probe(tagger.model),
            bundle.TOKENIZER: opened.tokenizer,
            bundle.LOSS_CURVE: base.folder / bundle.LOSS_CURVE,
            SEEN: json.dumps(sorted(digest(note.text) for note in (*taught, *dev))).encode(),
            KEPT_OUT: base.folder / SEEN,
        }

        def write(folder: Path, number: int) -> ModelBundle:
            numbered = manifest.model_copy(update={"version": number})
            return bundle.write(folder, numbered, contents | {bundle.CARD: model_card(numbered).encode()})

        return register(Registry(home.models), work, "clip", write)
