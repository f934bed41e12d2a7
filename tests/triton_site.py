"""A real Triton over a tiny model, for tests that ask it, break it or end it."""

from pathlib import Path

import numpy as np
import psutil

from serving.compilation import compile_bundle
from serving.engines.triton import open_remote
from serving.repository import publish
from serving.server import TritonConfig, TritonServer
from tests import tiny_bundle
from tests.appliance_process import free_ports


def processes(keeper_pid: int) -> list[psutil.Process]:
    """The keeper, Triton, and its stubs."""
    keeper = psutil.Process(keeper_pid)
    return [keeper, *keeper.children(recursive=True)]


def are_gone(them: list[psutil.Process]) -> bool:
    """Whether none of them is left."""
    return not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in them)


class Site:
    """A bundle compiled and published as model `clip`, and a Triton over it."""

    def __init__(self, folder: Path, environment: Path) -> None:
        self.folder, self.repository, self.log = folder, folder / "repository", folder / "triton.log"
        self.bundle = tiny_bundle.write(folder / "bundles" / "1")
        self.artifact = compile_bundle(self.bundle, folder / "artifacts" / "1")
        publish(self.repository, "clip", self.artifact)
        grpc_port, metrics_port = free_ports(2)
        self.config = TritonConfig(
            environment=environment, threads=1, start_timeout_s=30, grpc_port=grpc_port, metrics_port=metrics_port
        )
        self.server = TritonServer(self.config, self.repository, self.log)
        probe = self.bundle.probe()
        self.inputs = {name: probe[name] for name in ("input_ids", "attention_mask")}

    def ask(self, version: int = 1) -> np.ndarray:
        """What Triton answers to the bundle's probe."""
        remote = open_remote(self.config.url, "clip", version, timeout_s=5)
        try:
            return remote.run(self.inputs)["token_logits"]
        finally:
            remote.close()
