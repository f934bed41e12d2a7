"""Backups of a home: one sealed file that holds what cannot be made again, proved by restoring it.

In it are the settings, the keys, the database, the audit, the models, and how far a FHIR server was read. Not in it are token
shards of notes, compiled artifacts, Triton's repository and logs. A database in PostgreSQL is not in it either: PostgreSQL has
tools of its own for that. The key of the backups lies outside of the home, for a backup whose key went with the host is none.
"""

import fcntl
import hashlib
import json
import os
import shutil
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from appliance import audit, lock
from appliance.home import Home
from appliance.sealed_file import KEY_BYTES, SealedReader, SealedWriter, SealError, fingerprint

KIND = "clinappliance-backup"
_MANIFEST = "MANIFEST.json"
_PARTIAL = ".partial"
_COPY_BYTES = 1 << 20


class BackupError(RuntimeError):
    """A backup could not be made, proved or restored; the message says why and what to do."""


@dataclass(frozen=True)
class Proof:
    """What a backup was found to hold when it was restored."""

    made_at: str
    files: int
    size_bytes: int
    """Of all files in it."""
    rows: Mapping[str, int]
    """By table of the database; empty where it lies in PostgreSQL."""
    audit_lines: int
    models: int


def new_key(path: Path, home: Home) -> str:
    """Write a new key to `path`, for its owner alone; gives its fingerprint.

    Raises:
        BackupError: it lies in the home, is there already, or cannot be written.
    """
    if path.resolve().is_relative_to(home.root.resolve()):
        raise BackupError(f"{path} lies in the home: a key that is lost with it opens nothing; choose a place elsewhere")
    key = os.urandom(KEY_BYTES)
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            file.write(key.hex() + "\n")
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        raise BackupError(f"{path} is there already; keep it: the backups made with it need it") from None
    except OSError as error:
        raise BackupError(f"{path} cannot be written ({error.strerror})") from error
    return fingerprint(key)


def read_key(path: Path) -> bytes:
    """The key that `new_key` wrote.

    Raises:
        BackupError: it cannot be read, or is none.
    """
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii"))
    except OSError as error:
        raise BackupError(f"{path} cannot be read ({error.strerror}); `clinappliance backup key FILE` makes a key") from error
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise BackupError(f"{path} is no key: {2 * KEY_BYTES} hexadecimal digits are; `clinappliance backup key FILE` makes one")
    return key


def create(home: Home, folder: Path, key_file: Path, other_key: bool = False) -> Path:
    """Write a backup of `home`, which may be running, into `folder`; it was read back before it has its name.

    Args:
        home: initialised.
        folder: outside of the home; made where it is missing.
        key_file: as `new_key` wrote it.
        other_key: the key is meant to be another one than that of the backups before.
    Raises:
        BackupError: the key is not that of the backups before, something cannot be read or written, or it does not read back.
    """
    key = read_key(key_file)
    known = home.keys / "backup.fingerprint"
    before = known.read_text(encoding="ascii") if known.exists() else fingerprint(key)
    if before != fingerprint(key) and not other_key:
        raise BackupError(
            f"{key_file} is the key {fingerprint(key)}, and the backups before were sealed with {before}; give that one, or say "
            "--other-key and keep both"
        )
    if folder.resolve().is_relative_to(home.root.resolve()):
        raise BackupError(f"{folder} lies in the home: what is lost with it is no backup; choose a place elsewhere")
    made_at = datetime.now(UTC)
    target = folder / f"{KIND}-{made_at:%Y%m%dT%H%M%S}Z.sealed"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _clear(folder)
        descriptor, name = tempfile.mkstemp(_PARTIAL, f".{KIND}-", folder)
        partial = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                about = {"format": 1, "made_at": made_at.isoformat(timespec="seconds"), "version": version("clinappliance")}
                writer = SealedWriter(file, key, KIND, about)
                with _scratch(home) as scratch:
                    _pack(home, writer, about, scratch)
                writer.finish()
                file.flush()
                os.fsync(file.fileno())
                # The key as it is on the disk, not as it was remembered.
                with _opened(partial, read_key(key_file)) as members:
                    for _ in members:
                        pass
                os.rename(partial, target)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise BackupError(f"{target} cannot be written ({error.strerror}); free space, or choose another place") from error
    known.write_text(fingerprint(key), encoding="ascii")
    return target


def newest(path: Path) -> Path:
    """`path` itself, or the newest backup in it where it is a folder.

    Raises:
        BackupError: there is none.
    """
    if not path.is_dir():
        return path
    if not (there := _backups(path)):
        raise BackupError(f"there is no backup in {path}; `clinappliance backup create {path} --key FILE` makes one")
    return there[-1]


def keep_newest(folder: Path, how_many: int) -> list[Path]:
    """Remove all backups of a folder but the newest; gives those that were removed."""
    removed = _backups(folder)[:-how_many]
    for path in removed:
        path.unlink()
    return removed


def _backups(folder: Path) -> list[Path]:
    """By the time that stands in their names."""
    return sorted(folder.glob(f"{KIND}-*Z.sealed"))


def verify(home: Home, path: Path, key_file: Path) -> Proof:
    """Restore a backup into a scratch folder of `home`, compare everything, and remember that it was proved.

    In the home, for what is restored can be read; what a proof that was killed has left there goes with the next one.

    Raises:
        BackupError: it cannot be restored, or what comes out is not what went in.
    """
    with _scratch(home) as scratch:
        proof = restore(Home(scratch / "home"), path, key_file)
    remembered = {"made_at": proof.made_at, "verified_at_s": datetime.now(UTC).timestamp()}
    partial = home.proved_backup.with_suffix(".partial")
    partial.write_text(json.dumps(remembered), encoding="ascii")
    os.replace(partial, home.proved_backup)
    return proof


def restore(home: Home, path: Path, key_file: Path) -> Proof:
    """Make `home`, which must not be there yet, from a backup, and check it.

    Raises:
        BackupError: it is there, the backup cannot be read, or what comes out is not what went in; then nothing is left.
    """
    if home.root.exists() and any(home.root.iterdir()):
        raise BackupError(f"{home.root} is not empty; restore into a new folder, look at it, then move it to its place")
    home.root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home.root.parent, prefix=f".{home.root.name}-") as scratch:
        coming, manifest = Home(Path(scratch) / "home"), None
        found: dict[str, str] = {}
        with _opened(path, read_key(key_file)) as members:
            for name, content in members:
                if name == _MANIFEST:
                    manifest = json.load(content)
                    continue
                target = coming.root / name
                target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                    found[name] = _copied(content, file)
        if manifest is None or found != manifest["sha256"]:
            raise BackupError(f"{path}: what it holds is not what its list says; it was made by a fault, take another one")
        proof = _proof(coming, manifest)
        coming.init()
        if home.root.exists():
            home.root.rmdir()
        os.rename(coming.root, home.root)
    return proof


def _clear(folder: Path) -> None:
    """Take away what a backup that was killed has left; one that is being made is locked."""
    for path in folder.glob(f".{KIND}-*{_PARTIAL}"):
        with suppress(OSError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()


@contextmanager
def _scratch(home: Home) -> Iterator[Path]:
    """A folder for what can be read, which is gone afterwards, or, where the process was killed, with the next one."""
    with lock.only_one(home.run / "backup.pid", "makes or proves a backup"):
        for left in home.run.glob("backup-*/"):
            shutil.rmtree(left)
        with tempfile.TemporaryDirectory(dir=home.run, prefix="backup-") as made:
            yield Path(made)


def _pack(home: Home, writer: SealedWriter, about: Mapping[str, Any], scratch: Path) -> None:
    digests: dict[str, str] = {}
    with tarfile.open(fileobj=cast(IO[bytes], writer), mode="w|", format=tarfile.PAX_FORMAT) as tar:

        def add(name: str, file: BinaryIO, size: int) -> None:
            info = tarfile.TarInfo(name)
            info.size = size
            hashed = _Hashed(file)
            tar.addfile(info, cast(IO[bytes], hashed))
            digests[name] = hashed.digest.hexdigest()

        # Before the database: what a cursor says has been kept is then in it.
        for path in (home.fhir_progress, home.fhir_export):
            if path.exists():
                body = path.read_bytes()
                add(path.name, BytesIO(body), len(body))
        rows: dict[str, int] = {}
        if home.database.exists():
            copy = scratch / home.database.name
            rows = _copy_database(home.database, copy)
            with copy.open("rb") as file:
                add(home.database.name, file, copy.stat().st_size)
        for path in _files(home):
            with path.open("rb") as file:
                # What is added to the audit from now on is not in it.
                add(str(path.relative_to(home.root)), file, os.fstat(file.fileno()).st_size)
        body = json.dumps({**about, "rows": rows, "sha256": digests}).encode()
        info = tarfile.TarInfo(_MANIFEST)
        info.size = len(body)
        tar.addfile(info, BytesIO(body))


def _files(home: Home) -> Iterator[Path]:
    """What is in a backup beside the database and how far a FHIR server was read."""
    for path in (home.config, home.audit):
        if path.exists():
            yield path
    for folder in (home.keys, home.models):
        yield from sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != _PARTIAL)


def _copy_database(source: Path, target: Path) -> dict[str, int]:
    """A whole copy of one moment, while others write; gives the rows of each table."""
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    with closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as live, closing(sqlite3.connect(target)) as copy:
        live.backup(copy)
        # So that it is one file.
        copy.execute("PRAGMA journal_mode=DELETE")
        return _rows(copy)


def _rows(database: sqlite3.Connection) -> dict[str, int]:
    tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
    return {name: database.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name in tables}  # noqa: S608 - its own names


@contextmanager
def _opened(path: Path, key: bytes) -> Iterator[Iterator[tuple[str, IO[bytes]]]]:
    """Each file of a backup by its name, in order, to be read before the next is asked for.

    Raises:
        BackupError: also for what is raised within the `with` block while they are read and written.
    """
    try:
        with path.open("rb") as file:
            yield _members(path, SealedReader(file, key, KIND))
    except OSError as error:
        raise BackupError(f"{path}: cannot be restored ({error.strerror}); mend that and run it again") from error
    except (SealError, tarfile.TarError) as error:
        raise BackupError(f"{path}: {error}; take another backup, or the right key") from error


def _members(path: Path, reader: SealedReader) -> Iterator[tuple[str, IO[bytes]]]:
    with tarfile.open(fileobj=cast(IO[bytes], reader), mode="r|") as tar:
        for member in tar:
            name = Path(member.name)
            content = tar.extractfile(member)
            if content is None or name.is_absolute() or ".." in name.parts:
                raise BackupError(f"{path}: it holds something that is no file of a home; do not restore it")
            yield member.name, content
    # To the last piece, which says that nothing was cut off.
    while reader.read(_COPY_BYTES):
        pass


def _proof(home: Home, manifest: Mapping[str, Any]) -> Proof:
    """Look at what was restored as the appliance would."""
    from pretrain import bundle

    rows: dict[str, int] = {}
    if home.database.exists():
        with closing(sqlite3.connect(home.database)) as database:
            if database.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
                raise BackupError("the database in it is damaged; see `clinappliance doctor` about the one that it was made from")
            rows = _rows(database)
    if rows != manifest["rows"]:
        raise BackupError("the database in it has other rows than when it was made; take another backup")
    try:
        lines = sum(1 for _ in audit.entries(home))
        manifests = sorted(home.models.rglob(bundle.MANIFEST))
        for path in manifests:
            bundle.verify(path.parent)
    except (audit.AuditError, bundle.BundleError) as error:
        raise BackupError(f"what it was made from was not sound: {error}") from error
    sizes = [path.stat().st_size for path in home.root.rglob("*") if path.is_file()]
    return Proof(manifest["made_at"], len(sizes), sum(sizes), rows, lines, len(manifests))


def _copied(source: IO[bytes], target: BinaryIO) -> str:
    hashed = _Hashed(source)
    while piece := hashed.read(_COPY_BYTES):
        target.write(piece)
    target.flush()
    os.fsync(target.fileno())
    return hashed.digest.hexdigest()


class _Hashed:
    """A file being read, and the digest of what was."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.digest = file, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        piece = self._file.read(size)
        self.digest.update(piece)
        return piece
