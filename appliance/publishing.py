"""From a registered bundle to an artifact for this host, and into Triton's model repository."""

import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from appliance.home import Home
from appliance.registry import Entry
from pretrain import bundle

if TYPE_CHECKING:
    from serving.artifact import Artifact
    from serving.predictor import Reader, Tagger

SAMPLE_CHARACTERS = 100_000
"""Of notes on which a compiled model's decisions are compared: more than a thousand sentences, some seconds of work."""
MOST_NOTES = 200


def artifact_of(home: Home, entry: Entry, preference: str = "auto", notes: Sequence[str] = ()) -> "Artifact":
    """The bundle compiled for an engine of this host, checked against its probe; compiled now where it is not yet.

    Args:
        home: whose host it is for.
        entry: the bundle.
        preference: as for `serving.engine.working`.
        notes: of the hospital, on which it must decide as in float32; one that was checked on none is compiled again for them.
    Raises:
        EngineError: no engine works here, or not the one asked for.
        ParityError: the compiled model answers otherwise than torch did.
    """
    from serving import artifact, compilation

    folder = _folder(home, entry, preference)
    if folder.exists():
        try:
            there = artifact.load(folder)
            if entry.task != "clip" or not notes or there.parity.get("sentences"):
                return there
        except artifact.ArtifactError:
            pass
        # Made here from the bundle, so it is made again.
        shutil.rmtree(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    return compilation.compile_bundle(bundle.load(entry.folder), folder, preference, notes)


def tagger_of(home: Home, entry: Entry, preference: str = "auto") -> "Tagger":
    """The tagger of `entry`, in this process."""
    from serving.predictor import Tagger

    artifact = artifact_of(home, entry, preference)
    return Tagger(bundle.load(entry.folder), artifact.open(), artifact.tokens_per_batch)


def reader_of(home: Home, entry: Entry, preference: str = "auto") -> "Reader":
    """The reader of reports of `entry`, in this process."""
    from serving.predictor import Reader

    return Reader(bundle.load(entry.folder), artifact_of(home, entry, preference).open())


def publish(home: Home, entry: Entry, preference: str = "auto", notes: Iterable[str] | None = None) -> Path:
    """Have Triton's model repository hold the artifact of `entry`, as a version of its task's model; gives the folder.

    A version compiled from the same bundle by another engine is not that: whoever asks for an engine gets it.

    Args:
        home: whose repository it is.
        entry: the bundle.
        preference: as for `serving.engine.working`.
        notes: as for `artifact_of`; the newest that the appliance has received where None.
    Raises:
        BundleError: the bundle is damaged; an artifact compiled before that is not published either.
        EngineError, ParityError: as `artifact_of`.
    """
    from serving import artifact as artifacts
    from serving import repository

    bundle.load(entry.folder)
    sample = _sample(own_notes(home, entry.task) if notes is None else notes)
    artifact = artifact_of(home, entry, preference, sample)
    model = home.repository / entry.task
    version = repository.version_of(home.repository, entry.task, artifact.bundle)
    if version is None or artifacts.load(model / str(version)).sha256 != artifact.sha256:
        version = repository.publish(home.repository, entry.task, artifact)
    return model / str(version)


def own_notes(home: Home, task: str) -> list[str]:
    """The newest notes that the appliance has received and `task` reads."""
    from appliance.config import load
    from appliance.messages import newest_texts
    from appliance.routing import routes
    from appliance.storage import Storage

    if not home.config.exists():
        return []
    config = load(home)
    kinds = {kind for kind, reading in config.routing.tasks.items() if reading == task}
    place = config.database.place(home.database)
    if not kinds or (place == home.database and not home.database.exists()):
        return []
    storage = Storage(place)
    try:
        return newest_texts(storage, routes(config.routing), kinds, MOST_NOTES)
    finally:
        storage.close()


def _sample(notes: Iterable[str]) -> list[str]:
    taken, characters = [], 0
    for note in islice(notes, MOST_NOTES):
        taken.append(note)
        characters += len(note)
        if characters >= SAMPLE_CHARACTERS:
            break
    return taken


def published(home: Home, entry: Entry) -> int | None:
    """The version of its task's model in Triton's repository that is `entry`, by whatever engine; None where there is none.

    No engine is opened, and the bundle's manifest is believed.
    """
    from serving import artifact, repository

    version = repository.version_of(home.repository, entry.task, entry.reference)
    if version is None:
        return None
    there = artifact.load(home.repository / entry.task / str(version))
    for folder in _folder(home, entry, "auto").parent.glob("[!.]*"):
        with suppress(artifact.ArtifactError):
            if artifact.load(folder).sha256 == there.sha256:
                return version
    return None


def _folder(home: Home, entry: Entry, preference: str) -> Path:
    """Under the manifest's hash: a model that was removed and trained again under its number is another one."""
    from serving import artifact

    version = f"{entry.version}-{artifact.sha256(entry.folder / bundle.MANIFEST)[:16]}"
    return home.root / "artifacts" / entry.name / entry.task / version / preference
