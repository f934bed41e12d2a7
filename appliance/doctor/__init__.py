"""`doctor`: what this host and this home have, what is wrong with it, and what to do about it. Changes nothing."""

from collections.abc import Iterator

from appliance.config import ConfigError, load
from appliance.database import DatabaseConfig
from appliance.doctor import connections, home, host
from appliance.doctor.check import Check
from appliance.home import Home
from appliance.routing import TASKS

__all__ = ["Check", "examine"]


def examine(place: Home) -> Iterator[Check]:
    """Every check, as soon as it is made. What needs a home, or its settings, is left out where there is none."""
    yield host.python()
    yield host.disk(place.root)
    yield host.memory()
    yield host.cpu()
    yield home.folder(place)
    if not place.config.is_file():
        return
    config = None
    try:
        config = load(place)
        yield Check("settings", "ok", str(place.config))
    except ConfigError as error:
        yield Check("settings", "fail", str(error), f"correct {place.config}")
    yield home.keys(place)
    yield from home.database(place, config.database if config else DatabaseConfig())
    yield home.audited(place)
    yield from home.models(place, config.routing.tasks.values() if config else TASKS.values())
    yield from home.published(place)
    yield home.backup(place)
    if config is not None:
        yield host.triton(config)
        yield from connections.ports(place, config)
        yield connections.encryption(config.mllp)
        yield from connections.certificates(config)
        yield connections.fhir(config)
        yield from connections.fhir_source(config)
        yield from connections.hl7_out(config)
        yield from connections.dropped(config)
