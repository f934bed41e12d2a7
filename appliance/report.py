"""`status`: whether the appliance runs, what reads, and how the queues stand."""

from collections.abc import Mapping
from typing import Any

from appliance import lock
from appliance.config import AppConfig, load
from appliance.home import Home
from appliance.messages import STAGES, counts
from appliance.registry import Registry
from appliance.storage import Storage
from integrations.records import NoteKind

ASK_S = 3.0
_DEGRADED = {
    "triton_not_used": "notes are read in the appliance's own process, because Triton cannot be believed now (the log says why)",
    "clip_not_read": "discharge summaries wait, because the promoted clip model cannot be opened (the log says why)",
    "radqa_not_read": "radiology reports wait, because the promoted radqa model cannot be opened (the log says why)",
    "no_clip_model": "messages wait for a clip model; train one, or take the kind out of [routing] tasks",
    "no_radqa_model": "messages wait for a radqa model; train one, or take the kind out of [routing] tasks",
}


def status(home: Home) -> dict[str, Any]:
    """What a person asks first, as JSON."""
    config = load(home)
    pid = lock.holder(home.lock)
    registry = Registry(home.models)
    storage = Storage(config.database.place(home.database))
    try:
        queues = {stage: counts(storage, stage) for stage in STAGES}
    finally:
        storage.close()
    readiness = _readiness(config) if pid is not None else {"reasons": ["not_running"]}
    return {
        "home": str(home.root),
        "running": pid is not None,
        "pid": pid,
        "not_ready": readiness["reasons"],
        "degraded": readiness.get("degraded", []),
        "tasks": dict(config.routing.tasks),
        "reads": {kind: _model(registry, config.routing.tasks.get(kind)) for kind in NoteKind},
        "delivers_to": "fhir" if config.fhir.url else None,
        "queues": {stage: dict(q.by_state) | {"oldest_age_s": round(q.oldest_age_s, 1)} for stage, q in queues.items()},
    }


def page(found: Mapping[str, Any]) -> str:
    """`found` for a person."""
    if not found["running"]:
        state = "not running; `clinappliance run` starts it"
    elif found["not_ready"]:
        state = f"running as process {found['pid']}, not ready: {', '.join(found['not_ready'])}"
    else:
        state = f"running as process {found['pid']}, ready"
        state += "".join(f"; {_DEGRADED.get(word, word)}" for word in found["degraded"])
    lines = [f"{found['home']}: {state}"]
    lines += [f"  {kind:<18} {model or _why_unread(found['tasks'].get(kind))}" for kind, model in found["reads"].items()]
    lines.append(f"  findings go to     {'the FHIR server' if found['delivers_to'] else 'nobody; [fhir] url is not set'}")
    for stage, queue in found["queues"].items():
        numbers = ", ".join(f"{n} {state}" for state, n in queue.items() if state != "oldest_age_s")
        lines.append(f"  {stage:<18} {numbers}; oldest {queue['oldest_age_s']:.0f} s")
    return "\n".join(lines)


def _model(registry: Registry, task: str | None) -> str | None:
    entry = registry.promoted(task) if task else None
    return f"{task} {entry.reference}" if entry else None


def _why_unread(task: str | None) -> str:
    return f"waits: no {task} model is promoted" if task else "kept, not read: no task for this kind"


def _readiness(config: AppConfig) -> dict[str, list[str]]:
    import httpx

    # An address that means "all of mine" can be served, not asked.
    host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(config.http.host, config.http.host)  # noqa: S104
    authority = f"[{host}]" if ":" in host else host
    try:
        with httpx.Client(trust_env=False, timeout=ASK_S) as client:
            found: dict[str, list[str]] = client.get(f"http://{authority}:{config.http.port}/readyz").json()
    except (httpx.HTTPError, ValueError):
        found = {}
    return found if isinstance(found, dict) and "reasons" in found else {"reasons": ["no_answer"]}
