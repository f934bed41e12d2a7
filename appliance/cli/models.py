"""`models`, `compile` and `serve`: from the registry to a running Triton."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from appliance.cli.settings import Settings

if TYPE_CHECKING:
    from appliance.registry import Entry, Registry

Model = Annotated[str, typer.Argument(help="NAME (its newest version) or NAME@VERSION, as `models list` shows them.")]
Task = Annotated[str, typer.Option(help="clip, radqa, mednli, or base for a pretrained model before any task.")]
Engine = Annotated[str, typer.Option(help="auto, openvino, onnxruntime or tensorrt.")]


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    group = typer.Typer(no_args_is_help=True, help="The models that were trained here, and which one reads.")
    for command in (list_models, show, card, verify, promote, rollback, try_model):
        group.command(command.__name__.removesuffix("_models").removesuffix("_model"))(command)
    app.add_typer(group, name="models")
    app.command("compile")(compile_model)
    app.command()(serve)


def list_models(ctx: typer.Context) -> None:
    """List every model, one a line."""
    from appliance.registry import Registry

    settings: Settings = ctx.obj
    registry = Registry(settings.home.require().models)
    entries = list(registry.entries())
    tried = dict(found for task in {e.task for e in entries} if (found := registry.candidate(task)))
    for e in entries:
        share = tried.get(e)
        row = {"name": e.name, "task": e.task, "version": e.version, "promoted": e.is_promoted, "candidate": share}
        state = (
            "promoted" if e.is_promoted else "" if share is None else f"tried on {share:.0%}" if share else "tried in the shadow"
        )
        settings.emit(row, f"{e.reference:<24} {e.task:<8} {state}".rstrip())
    if not entries and not settings.json:
        print("No model yet; `clinappliance train --notes PATH --clip PATH` makes one.")


def show(ctx: typer.Context, model: Model, task: Task = "clip") -> None:
    """Print a model's manifest.

    What it was taught by, how it scored, what it cost.
    """
    import json

    from appliance.registry import Registry

    settings: Settings = ctx.obj
    manifest = Registry(settings.home.require().models).get(model, task).manifest.model_dump(mode="json")
    settings.emit(manifest, json.dumps(manifest, indent=2))


def card(ctx: typer.Context, model: Model, task: Task = "clip") -> None:
    """Print a model's card."""
    from appliance.registry import Registry

    settings: Settings = ctx.obj
    bundle = Registry(settings.home.require().models).get(model, task)
    text = bundle.card.read_text(encoding="utf-8")
    settings.emit({"model": model, "card": text}, text)


def verify(ctx: typer.Context, model: Model, task: Task = "clip") -> None:
    """Check the hash of every file of a model."""
    from appliance.registry import Registry

    settings: Settings = ctx.obj
    bundle = Registry(settings.home.require().models).get(model, task)
    n = len(bundle.manifest.files)
    settings.emit({"model": model, "task": task, "verified_files": n}, f"{model}: {n} files, every hash as in the manifest")


def promote(
    ctx: typer.Context,
    model: Model,
    task: Annotated[str, typer.Option(help="What it reads for.")] = "clip",
    engine: Engine = "auto",
) -> None:
    """Let a model read from now on.

    It is compiled for this host, checked against its probe and published first. One that gives away what it read,
    or was never tested for that, is refused.
    """
    from appliance.registry import Registry

    settings: Settings = ctx.obj
    registry = Registry(settings.home.require().models)
    _let_read(settings, registry, registry.find(model, task), engine)


def rollback(
    ctx: typer.Context,
    task: Annotated[str, typer.Option(help="What it reads for.")] = "clip",
    engine: Engine = "auto",
) -> None:
    """Let the model read again that did before the promoted one.

    Once more goes back to where it was. Findings keep the name of the model that made them.
    """
    from appliance.registry import Registry

    settings: Settings = ctx.obj
    registry = Registry(settings.home.require().models)
    _let_read(settings, registry, registry.before(task), engine)


def try_model(
    ctx: typer.Context,
    model: Annotated[str | None, typer.Argument(help="NAME or NAME@VERSION; not with --stop.")] = None,
    share: Annotated[
        float, typer.Option(min=0, max=100, help="Percent of the notes that it reads itself; 0 lets it read in the shadow only.")
    ] = 0.0,
    stop: Annotated[bool, typer.Option("--stop", help="End what is being tried.")] = False,
    task: Annotated[str, typer.Option(help="What it reads for.")] = "clip",
    engine: Engine = "auto",
) -> None:
    """Try a model beside the promoted one.

    It reads every note in the shadow of the promoted model, or a share of them in its place, and /metrics counts in how many
    sentences, or answers, the two differ and how long it takes. Example: clinappliance models try ours@2 --share 10
    """
    from appliance.publishing import publish
    from appliance.registry import Registry, refuse_leaking

    settings: Settings = ctx.obj
    registry = Registry(settings.home.require().models)
    if (model is None) != stop:
        raise typer.BadParameter("name a model, or give --stop")
    if model is None:
        registry.try_out(task, None)
        settings.emit({"candidate": None}, "no model is tried any more")
        return
    entry = registry.find(model, task)
    if entry.is_promoted:
        raise typer.BadParameter(f"{entry.reference} reads already")
    refuse_leaking(registry.get(entry.reference, task).manifest)
    publish(settings.home, entry, engine)
    registry.try_out(task, entry, share / 100)
    how = f"reads {share:g} % of the notes" if share else "reads in the shadow of the promoted model"
    settings.emit({"candidate": entry.reference, "share": share / 100}, f"{entry.reference} {how}, and is compared with it")


def _let_read(settings: Settings, registry: "Registry", entry: "Entry", engine: str) -> None:
    from appliance.publishing import publish
    from appliance.registry import refuse_leaking

    refuse_leaking(registry.get(entry.reference, entry.task).manifest)
    published = publish(settings.home, entry, engine)
    registry.promote(entry)
    settings.emit(
        {"model": entry.reference, "task": entry.task, "published": str(published)},
        f"{entry.reference} reads {entry.task} from now on; a running appliance takes it up within seconds",
    )


def compile_model(
    ctx: typer.Context,
    model: Model,
    task: Annotated[str, typer.Option(help="What it reads for.")] = "clip",
    engine: Engine = "auto",
) -> None:
    """Compile a model for this host and publish it.

    Its answers are checked against torch's before Triton's model repository gets it.
    """
    from appliance.publishing import artifact_of, publish
    from appliance.registry import Registry

    settings: Settings = ctx.obj
    entry = Registry(settings.home.require().models).find(model, task)
    published = publish(settings.home, entry, engine)
    artifact = artifact_of(settings.home, entry, engine)
    row = {
        "model": entry.reference,
        "task": task,
        "engine": artifact.engine,
        "precision": artifact.precision,
        "parity": artifact.parity,
        "published": str(published),
    }
    settings.emit(row, f"{entry.reference} compiled for {artifact.engine} in {artifact.precision} and published as {published}")


def serve(ctx: typer.Context) -> None:
    """Run Triton alone, on what has been published.

    Until Ctrl-C. `run` starts its own; this is for asking the models over gRPC without the rest.
    """
    import time

    from appliance.config import load
    from serving.server import TritonServer

    settings: Settings = ctx.obj
    settings.home.require()
    config = load(settings.home)
    server = TritonServer(config.triton, settings.home.repository, Path(settings.home.logs) / "triton.log")
    server.start()
    try:
        settings.emit(
            {"ready": True, "grpc_port": config.triton.grpc_port}, f"Triton is ready, gRPC on port {config.triton.grpc_port}"
        )
        while True:
            server.watch()
            time.sleep(1)
    except KeyboardInterrupt:
        pass
    finally:
        server.stop()
