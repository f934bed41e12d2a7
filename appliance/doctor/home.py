"""The home: what lies in it, and whether it is as it was put there."""

import json
import os
import time
from collections.abc import Iterable, Iterator

from appliance import audit
from appliance.database import DatabaseConfig
from appliance.doctor.check import Check
from appliance.home import KEY_BYTES, Home, HomeError
from appliance.registry import Registry
from appliance.trouble import explain

MOST_CLOCK_SKEW_S = 2.0
LONGEST_WITHOUT_BACKUP_S = 26 * 3600


def folder(home: Home) -> Check:
    """There, ours, and closed to others."""
    try:
        home.require()
    except HomeError as error:
        return Check("home", "fail", str(error), f"clinappliance --home {home.root} init")
    mode = home.root.stat().st_mode & 0o777
    if not os.access(home.root, os.W_OK | os.X_OK):
        return Check("home", "fail", f"{home.root} cannot be written", "run as the user who owns it")
    if mode & 0o077:
        return Check("home", "fail", f"{home.root} is open to others (mode {mode:o})", f"chmod 700 {home.root}")
    return Check("home", "ok", f"{home.root}, mode {mode:o}")


def database(home: Home, config: DatabaseConfig) -> Iterator[Check]:
    """Opened, and checked by its own means; a server's clock, too, beside ours."""
    from appliance.storage import Storage, StorageError

    try:
        storage = Storage(config.place(home.database), busy_s=5)
        try:
            fault, about = storage.database.damage(), storage.database.about()
            ahead_s = time.time() - storage.database.clock()
        finally:
            storage.close()
    except StorageError as error:
        yield Check("database", "fail", str(error), "see what the line says")
        return
    if fault:
        yield Check("database", "fail", f"{storage.database.backend.name}: {fault.what}", fault.advice)
    else:
        yield Check("database", "ok", about)
    if config.url is not None:
        yield clock(ahead_s)


def audited(home: Home) -> Check:
    """Every line of the audit is as it was written."""
    try:
        lines = sum(1 for _ in audit.entries(home))
    except audit.AuditError as error:
        return Check("audit", "fail", str(error), "tell who answers for the audit; `clinappliance audit verify` after that")
    return Check("audit", "ok", f"{lines:,} lines, all as they were written")


def keys(home: Home) -> Check:
    """Closed to others, and whole."""
    for path in sorted(home.keys.glob("*")):
        mode = path.stat().st_mode & 0o777
        if mode & 0o077:
            return Check(
                "keys", "fail", f"{path} is open to others (mode {mode:o})", f"chmod 600 {path}; ask who may have read it"
            )
        if path.suffix == ".key" and path.stat().st_size != KEY_BYTES:
            advice = "bring the key back from a backup; with another one, what was made with it is not known again"
            return Check("keys", "fail", f"{path} has {path.stat().st_size} bytes, not {KEY_BYTES}", advice)
    return Check("keys", "ok", "whole, and closed to others")


def published(home: Home) -> Iterator[Check]:
    """What Triton is given: each version is as it was compiled."""
    from serving import artifact

    for folder in sorted(path.parent for path in home.repository.glob(f"*/*/{artifact.MANIFEST}")):
        name = f"published {folder.parent.name}/{folder.name}"
        try:
            found = artifact.load(folder)
            yield Check(name, "ok", f"{found.bundle} for {found.engine}, {found.precision}")
        except artifact.ArtifactError as error:
            yield Check(name, "fail", str(error), "clinappliance compile MODEL, which publishes it again")


def backup(home: Home) -> Check:
    """One was restored and compared within a day."""
    advice = "clinappliance backup create FOLDER --key FILE each night, and backup verify after it"
    try:
        proved = json.loads(home.proved_backup.read_bytes())
        age_s = time.time() - float(proved["verified_at_s"])
    except FileNotFoundError:
        return Check("backup", "warn", "none was ever proved", advice)
    except (OSError, ValueError, KeyError, TypeError):
        return Check("backup", "warn", f"{home.proved_backup} cannot be read", advice)
    if age_s > LONGEST_WITHOUT_BACKUP_S:
        return Check("backup", "warn", f"the last one was proved {age_s / 86400:.1f} days ago", advice)
    return Check("backup", "ok", f"that of {proved.get('made_at')} was restored and compared")


def clock(ahead_s: float) -> Check:
    """This host's clock beside the database's. Leases go by the latter alone; logs and the times of notes do not."""
    told = f"{abs(ahead_s):.1f} s {'ahead of' if ahead_s > 0 else 'behind'} the database's"
    if abs(ahead_s) > MOST_CLOCK_SKEW_S:
        return Check("clock", "warn", told, "let both hosts follow one time server (chrony, systemd-timesyncd)")
    return Check("clock", "ok", told)


def models(home: Home, tasks: Iterable[str]) -> Iterator[Check]:
    """The promoted model of each of `tasks`, every file compared with its manifest."""
    registry = Registry(home.models)
    for task in sorted(set(tasks)):
        name = f"model {task}"
        try:
            entry = registry.promoted(task)
            if entry is None:
                advice = (
                    f"clinappliance train, or clinappliance models promote NAME --task {task}; or take it out of [routing] tasks"
                )
                yield Check(name, "warn", "none is promoted", advice)
                continue
            n_files = len(registry.get(entry.reference, task).manifest.files)
            yield Check(name, "ok", f"{entry.reference}, {n_files} files as in the manifest")
        except Exception as error:
            yield Check(name, "fail", explain(error), "copy the model again, or promote another one")
