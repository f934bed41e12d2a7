"""Who reads, when the model repository changes under a running appliance."""

from pathlib import Path

import pytest

from appliance.config import parse
from appliance.home import Home
from appliance.keeper import EngineKeeper
from appliance.publishing import publish
from appliance.registry import Registry
from serving import repository
from serving.engine import EngineError
from tests import tiny_bundle
from tests.appliance_process import free_ports


class Running:
    """A Triton that runs and serves nothing that it is asked for."""

    pid = 1

    def watch(self) -> None:
        """It needs nothing."""

    def is_ready(self, model: str, version: int) -> bool:
        return False


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.init()
    return home


def test_a_reader_whose_version_gave_way_to_newer_ones_is_opened_anew(home: Home) -> None:
    registry = Registry(home.models)
    entries = [registry.add("q", "clip", lambda folder, version: tiny_bundle.write(folder, "q", version)) for _ in range(3)]
    registry.promote(entries[0])
    keeper = EngineKeeper(home, parse(f"[triton]\ngrpc_port = {free_ports(1)[0]}"))
    keeper._server, keeper._reader, keeper._version = Running(), object(), 1
    for entry in entries[:2]:
        publish(home, entry, "onnxruntime")
    keeper.step()
    assert keeper.reader() is not None
    assert keeper.reasons() == ["engine_not_ready"]
    publish(home, entries[2], "onnxruntime")
    keeper.step()
    assert keeper.reader() is None
    with pytest.raises(EngineError, match="model clip version 4"):
        keeper.step()
    assert repository.version_of(home.repository, "clip", "q@1") == 4
