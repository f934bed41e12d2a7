"""`status`: whether the appliance runs, what reads, and how the queues stand."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from appliance import lock
from appliance.config import AppConfig, load
from appliance.database import OUTBOX, is_in
from appliance.delivery import PAUSED
from appliance.destinations import names
from appliance.home import Home
from appliance.messages import STAGES, counts
from appliance.registry import Registry
from appliance.storage import Storage
from integrations.mailbox import State
from integrations.records import NoteKind

ASK_S = 3.0
_SHOWN = (State.WAITING, State.CLAIMED, State.PARKED)
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
        owed = _owed(storage)
    finally:
        storage.close()
    readiness = _readiness(config) if pid is not None else {"reasons": ["not_running"]}
    degraded = readiness.get("degraded", [])
    configured = names(config)
    return {
        "home": str(home.root),
        "running": pid is not None,
        "pid": pid,
        "not_ready": readiness["reasons"],
        "degraded": degraded,
        "tasks": dict(config.routing.tasks),
        "reads": {kind: _model(registry, config.routing.tasks.get(kind)) for kind in NoteKind},
        "delivers_to": ", ".join(configured) or None,
        "destinations": {
            name: owed.get(name, dict.fromkeys(_SHOWN, 0))
            | {"configured": name in configured, "paused": f"{PAUSED}{name}" in degraded}
            for name in sorted({*configured, *owed})
        },
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
        state += "".join(f"; {_DEGRADED.get(word, word)}" for word in found["degraded"] if not word.startswith(PAUSED))
    lines = [f"{found['home']}: {state}"]
    lines += [f"  {kind:<18} {model or _why_unread(found['tasks'].get(kind))}" for kind, model in found["reads"].items()]
    lines.append(f"  findings go to     {found['delivers_to'] or 'nobody; neither [fhir] url nor [hl7_out] is set'}")
    lines += [f"  to {name:<15} {_queue(queue)}" for name, queue in found["destinations"].items()]
    for stage, queue in found["queues"].items():
        numbers = ", ".join(f"{n} {state}" for state, n in queue.items() if state != "oldest_age_s")
        lines.append(f"  {stage:<18} {numbers}; oldest {queue['oldest_age_s']:.0f} s")
    return "\n".join(lines)


def _owed(storage: Storage) -> dict[str, dict[str, int]]:
    """Deliveries that are not done, by destination and state."""
    found: dict[str, dict[str, int]] = {}
    with storage.database.read() as connection:
        for state in _SHOWN:
            query = sa.select(OUTBOX.c.destination, sa.func.count()).where(is_in(OUTBOX, state)).group_by(OUTBOX.c.destination)
            for destination, n in connection.execute(query):
                found.setdefault(destination, dict.fromkeys(_SHOWN, 0))[state] = n
    return found


def _queue(queue: Mapping[str, int]) -> str:
    numbers = ", ".join(f"{queue[state]} {state}" for state in _SHOWN)
    if not queue["configured"]:
        return f"{numbers}; nobody delivers them: no setting names this destination any more"
    return f"{numbers}; it does not take deliveries now, one at a time is tried" if queue["paused"] else numbers


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
