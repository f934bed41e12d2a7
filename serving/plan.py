"""A plan as files: what TensorRT compiled for one kind of GPU, beside a sheet that says for which, by what, and its hash.

TensorRT reads a plan as it would a program, checks little and blames what it finds on itself; so nothing is given to it before
all that the sheet says has been checked. That needs no GPU.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from serving.cuda import Capability
from serving.engine import EngineError

PLAN = "model.plan"
SHEET = "plan.json"


@dataclass(frozen=True)
class Maker:
    """What a plan depends on: it runs on this kind of GPU and with this library in this version, and nowhere else."""

    capability: Capability
    library: str
    """`tensorrt` or `tensorrt_rtx`."""
    version: str


def write(folder: Path, plan: bytes, maker: Maker, precision: str) -> None:
    """Write the plan and its sheet into `folder`.

    Raises:
        OSError: the disk refuses.
    """
    (folder / PLAN).write_bytes(plan)
    sheet = {"size_bytes": len(plan), "sha256": hashlib.sha256(plan).hexdigest(), "precision": precision, **asdict(maker)}
    (folder / SHEET).write_text(json.dumps(sheet, indent=2) + "\n", encoding="utf-8")


def read(folder: Path, host: Maker) -> bytes:
    """The plan in `folder`, whole and fit for this host.

    Args:
        folder: that `write` wrote into.
        host: the GPU's kind and the library here.
    Raises:
        EngineError: the plan is cut short, damaged, for GPUs of another kind, or of another library or version.
    """
    try:
        sheet = json.loads((folder / SHEET).read_bytes())
        size_bytes, sha256 = int(sheet["size_bytes"]), str(sheet["sha256"])
        maker = Maker((int(sheet["capability"][0]), int(sheet["capability"][1])), str(sheet["library"]), str(sheet["version"]))
        plan = (folder / PLAN).read_bytes()
    except OSError as error:
        raise _refused(f"{folder} cannot be read ({error.strerror})") from error
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise _refused(f"{SHEET} is damaged") from error
    if len(plan) != size_bytes:
        raise _refused(f"{PLAN} has {len(plan)} bytes of {size_bytes}: it was cut short or written over")
    if hashlib.sha256(plan).hexdigest() != sha256:
        raise _refused(f"{PLAN} is damaged: its SHA-256 is not that of the plan that was compiled")
    if maker.capability != host.capability:
        raise _refused(
            f"{PLAN} is for GPUs of compute capability {dotted(maker.capability)}, and this host's has {dotted(host.capability)}"
        )
    if (maker.library, maker.version) != (host.library, host.version):
        raise _refused(f"{PLAN} is of {maker.library} {maker.version}, and this host has {host.library} {host.version}")
    return plan


def dotted(capability: Capability) -> str:
    """A compute capability as NVIDIA writes it: 8.6."""
    return ".".join(map(str, capability))


def _refused(what: str) -> EngineError:
    return EngineError(f"tensorrt: {what}; compile the bundle again on this host")
