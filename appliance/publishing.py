"""From a registered bundle to an artifact for this host, and into Triton's model repository."""

import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from appliance.home import Home
from appliance.registry import Entry
from pretrain import bundle

if TYPE_CHECKING:
    from serving.artifact import Artifact
    from serving.predictor import Reader, Tagger


def artifact_of(home: Home, entry: Entry, preference: str = "auto") -> "Artifact":
    """The bundle compiled for an engine of this host, checked against its probe; compiled now where it is not yet.

    Raises:
        EngineError: no engine works here, or not the one asked for.
        ParityError: the compiled model answers otherwise than torch did.
    """
    from serving import artifact, compilation

    folder = _folder(home, entry, preference)
    if folder.exists():
        try:
            return artifact.load(folder)
        except artifact.ArtifactError:
            # Made here from the bundle, so it is made again.
            shutil.rmtree(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    return compilation.compile_bundle(bundle.load(entry.folder), folder, preference)


def tagger_of(home: Home, entry: Entry, preference: str = "auto") -> "Tagger":
    """The tagger of `entry`, in this process."""
    from serving.predictor import Tagger

    return Tagger(bundle.load(entry.folder), artifact_of(home, entry, preference).open())


def reader_of(home: Home, entry: Entry, preference: str = "auto") -> "Reader":
    """The reader of reports of `entry`, in this process."""
    from serving.predictor import Reader

    return Reader(bundle.load(entry.folder), artifact_of(home, entry, preference).open())


def publish(home: Home, entry: Entry, preference: str = "auto") -> Path:
    """Have Triton's model repository hold the artifact of `entry`, as a version of its task's model; gives the folder.

    A version compiled from the same bundle by another engine is not that: whoever asks for an engine gets it.

    Raises:
        BundleError: the bundle is damaged; an artifact compiled before that is not published either.
        EngineError, ParityError: as `artifact_of`.
    """
    from serving import artifact as artifacts
    from serving import repository

    bundle.load(entry.folder)
    artifact = artifact_of(home, entry, preference)
    model = home.repository / entry.task
    version = repository.version_of(home.repository, entry.task, artifact.bundle)
    if version is None or artifacts.load(model / str(version)).sha256 != artifact.sha256:
        version = repository.publish(home.repository, entry.task, artifact)
    return model / str(version)


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
