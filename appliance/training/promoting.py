"""The first model of a task is promoted where it is made, unless it gives away what it read."""

from collections.abc import Iterable
from typing import Any

from appliance.home import Home
from appliance.publishing import artifact_of, publish
from appliance.registry import Entry, Registry, RegistryError, refuse_leaking
from appliance.training.request import Watch
from pretrain import bundle


def promote_first(home: Home, registry: Registry, entry: Entry, notes: Iterable[str], watch: Watch) -> dict[str, Any]:
    """Compile, publish and promote it where none reads for its task yet: `promoted` or `not_promoted`, or nothing.

    Triton gets only what a running appliance asks it: taggers, once they decide on some of `notes` as they do in float32.
    """
    if registry.promoted(entry.task) is not None:
        return {}
    try:
        refuse_leaking(bundle.load(entry.folder).manifest)
    except RegistryError as error:
        watch.say(str(error))
        return {"not_promoted": str(error)}
    watch.phase("Compiling for this host")
    if entry.task == "clip":
        publish(home, entry, notes=notes)
    else:
        artifact_of(home, entry)
    registry.promote(entry)
    return {"promoted": entry.reference}
