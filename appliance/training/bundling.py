"""A finetuned model of any task as a bundle: exported, carded, sealed and registered."""

import json
import tempfile
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from importlib.metadata import version as package_version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from appliance.home import Home
from appliance.registry import Entry
from appliance.training.labels import KEPT_OUT, SEEN, digest
from pretrain import bundle
from pretrain.bundle import Manifest, ModelBundle

if TYPE_CHECKING:
    from pretrain.models.heads import TokenTagger

Write = Callable[[Path, int], ModelBundle]


def add_bundle(
    home: Home,
    base: Entry,
    add: Callable[[Write], Entry],
    model: "TokenTagger",
    seen: Iterable[str],
    taught_by: str,
    flops: dict[str, float],
    **of_the_task: Any,
) -> Entry:
    """Export a model and register it beside its base.

    Args:
        home: whose registry it goes to.
        base: what it was finetuned from.
        add: gives a function that writes a bundle its folder and number.
        model: finetuned.
        seen: the texts that it was taught or chosen with.
        taught_by: whose labels, and on how many texts.
        flops: spent on finetuning.
        of_the_task: the manifest's task, labels, cutoffs, window_tokens, metrics and the like.
    """
    from pretrain.model_card import model_card
    from pretrain.onnx_export import export, probe

    opened = bundle.load(base.folder)
    inherited = opened.manifest
    manifest = Manifest(
        name=base.name,
        version=1,
        size=inherited.size,
        flops=inherited.flops | flops,
        corpus_fingerprint=inherited.corpus_fingerprint,
        taught_by=f"{taught_by}; base {base.reference}",
        leak_gate=inherited.leak_gate,
        created_at=datetime.now(UTC),
        package_version=package_version("clinappliance"),
        **of_the_task,
    )
    with tempfile.TemporaryDirectory(dir=home.corpora) as scratch:
        graph = Path(scratch) / bundle.ONNX
        export(model, graph)
        contents: dict[str, bytes | Path] = {
            **model.files(),
            bundle.ONNX: graph,
            bundle.PROBE: probe(model),
            bundle.TOKENIZER: opened.tokenizer,
            bundle.LOSS_CURVE: base.folder / bundle.LOSS_CURVE,
            SEEN: json.dumps(sorted(set(map(digest, seen)))).encode(),
            KEPT_OUT: base.folder / SEEN,
        }

        def write(folder: Path, number: int) -> ModelBundle:
            numbered = manifest.model_copy(update={"version": number})
            return bundle.write(folder, numbered, contents | {bundle.CARD: model_card(numbered).encode()})

        return add(write)
