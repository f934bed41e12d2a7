"""`backup key`, `backup create`, `backup verify` and `backup restore`."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from appliance.cli.settings import Settings

backup = typer.Typer(no_args_is_help=True, help="Copies of all that cannot be made again, sealed, and proved by restoring them.")

Key = Annotated[Path, typer.Option("--key", help="File with the key of the backups, kept outside of this host.")]
File = Annotated[Path, typer.Argument(help="A backup, or a folder: the newest in it.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.add_typer(backup, name="backup")


@backup.command()
def key(
    ctx: typer.Context, file: Annotated[Path, typer.Argument(help="Where to write it, outside of the home.", show_default=False)]
) -> None:
    """Make a key for backups.

    Keep a copy of it where the backups are not: without it nobody can read them, with it anybody. Example: clinappliance
    backup key /root/backup.key
    """
    from appliance.backup import new_key

    settings: Settings = ctx.obj
    made = new_key(file, settings.home)
    settings.emit(
        {"file": str(file), "key": made},
        f"{file} holds the key {made}. Keep a copy away from this host and from the backups: without it they cannot be read.",
    )


@backup.command()
def create(
    ctx: typer.Context,
    folder: Annotated[Path, typer.Argument(help="Where to write the backup, outside of the home.", show_default=False)],
    key_file: Key,
    keep: Annotated[int | None, typer.Option(min=1, help="How many to keep in FOLDER; by default all.")] = None,
    other_key: Annotated[bool, typer.Option("--other-key", help="It is meant to be another key than before.")] = False,
) -> None:
    """Write a backup; the appliance may run meanwhile.

    Settings, keys, messages, findings, audit and models are in it; token shards, compiled artifacts and logs are not, for
    they can be made again. A database in PostgreSQL is not either: use PostgreSQL's own tools for it. The key is tried by reading
    the whole backup back. Example: clinappliance backup create /mnt/backups --key /root/backup.key
    """
    from appliance import audit
    from appliance import backup as backups

    settings: Settings = ctx.obj
    home = settings.home.require()
    audit.record(home, "backup create", str(folder))
    made = backups.create(home, folder, key_file, other_key)
    removed = backups.keep_newest(folder, keep) if keep else []
    size = made.stat().st_size
    settings.emit(
        {"file": str(made), "size_bytes": size, "removed": [str(path) for path in removed]},
        f"{made}, {size / 1e6:.1f} MB, read back with its key{f'; {len(removed)} older ones removed' if removed else ''}. "
        f"Prove it: clinappliance backup verify {made} --key {key_file}",
    )


@backup.command()
def verify(ctx: typer.Context, file: File, key_file: Key) -> None:
    """Restore a backup into a scratch folder beside it, and compare.

    Every file's hash, the database's own check and its rows, the seals of the audit, and the hashes of the models. The scratch
    folder is taken away again. Exit 1 where anything differs. Example: clinappliance backup verify
    /mnt/backups/clinappliance-backup-20261130T020000Z.sealed --key /root/backup.key
    """
    from appliance import backup as backups

    settings: Settings = ctx.obj
    file = backups.newest(file)
    proof = backups.verify(settings.home.require(), file, key_file)
    settings.emit(asdict(proof), f"{file} was restored and is whole: {_holds(proof)}")


@backup.command()
def restore(ctx: typer.Context, file: File, key_file: Key) -> None:
    """Make the home from a backup; `--home` names a folder that is empty or not there yet.

    Then run `doctor`, and `compile` what is promoted. Example: clinappliance --home /srv/restored backup restore FILE --key
    /root/backup.key
    """
    from appliance import audit
    from appliance import backup as backups

    settings: Settings = ctx.obj
    file = backups.newest(file)
    proof = backups.restore(settings.home, file, key_file)
    audit.record(settings.home, "backup restore", file.name)
    settings.emit(asdict(proof), f"{settings.home.root} is restored: {_holds(proof)}")


def _holds(proof: object) -> str:
    from appliance.backup import Proof

    assert isinstance(proof, Proof)
    messages = f"{proof.rows['inbox']:,} messages" if "inbox" in proof.rows else "no database (it lies in PostgreSQL)"
    return (
        f"made {proof.made_at}, {messages}, {proof.models} models, {proof.audit_lines:,} lines of audit, "
        f"{proof.files:,} files of {proof.size_bytes / 1e6:.1f} MB"
    )
