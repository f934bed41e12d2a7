"""Where everything lies in the appliance's home, and how `init` makes it."""

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

KEY_BYTES = 32


class HomeError(RuntimeError):
    """The home is missing or cannot be used; the message says what to do."""


@dataclass(frozen=True)
class Home:
    """The folder that holds all that one appliance knows. Nobody but its owner may look inside."""

    root: Path

    @property
    def config(self) -> Path:
        """The settings, for a person to edit."""
        return self.root / "appliance.toml"

    @property
    def database(self) -> Path:
        """Messages, findings and deliveries (SQLite), unless `[database] url` says otherwise."""
        return self.root / "appliance.db"

    @property
    def fhir_progress(self) -> Path:
        """How far the FHIR server's documents have been read."""
        return self.root / "fhir_source.json"

    @property
    def fhir_export(self) -> Path:
        """How far `fetch` has come with an export."""
        return self.root / "fhir_export.json"

    @property
    def models(self) -> Path:
        """The registry: pretrained bases and finetuned bundles."""
        return self.root / "models"

    @property
    def repository(self) -> Path:
        """Triton's model repository."""
        return self.root / "repository"

    @property
    def corpora(self) -> Path:
        """Token shards of the notes that training reads."""
        return self.root / "corpora"

    @property
    def keys(self) -> Path:
        """Secrets, one file each."""
        return self.root / "keys"

    @property
    def group_key(self) -> Path:
        """Turns a record number into the group of a training document."""
        return self.keys / "group.key"

    @property
    def audit(self) -> Path:
        """Who looked at or changed what."""
        return self.root / "audit.jsonl"

    @property
    def proved_backup(self) -> Path:
        """Which backup was restored and compared last, and when."""
        return self.root / "backup.json"

    def key(self, name: str) -> bytes:
        """The secret `keys/NAME.key`, made where it is missing.

        Raises:
            OSError: it cannot be made or read.
        """
        path = self.keys / f"{name}.key"
        _make_file(path, secrets.token_bytes(KEY_BYTES))
        return path.read_bytes()

    @property
    def logs(self) -> Path:
        """What Triton and the service write about themselves."""
        return self.root / "logs"

    @property
    def run(self) -> Path:
        """What exists only while the appliance runs."""
        return self.root / "run"

    @property
    def lock(self) -> Path:
        """Held by the one `run` that works on this home; names its process."""
        return self.run / "appliance.pid"

    def init(self) -> list[Path]:
        """Make what is missing and leave the rest as it is.

        Returns:
            What was made.
        Raises:
            HomeError: the folder cannot be made or written.
        """
        try:
            made = [folder for folder in self._folders() if _make_folder(folder)]
            if _make_file(self.group_key, secrets.token_bytes(KEY_BYTES)):
                made.append(self.group_key)
            from appliance.config import default_toml

            if _make_file(self.config, default_toml().encode()):
                made.append(self.config)
        except OSError as error:
            raise HomeError(
                f"{self.root}: cannot be made ({error.strerror}); free space, mend its rights, or choose another --home"
            ) from error
        return made + self._make_database()

    def require(self) -> "Home":
        """This home, once it is certain that `init` has made it.

        Raises:
            HomeError: it is not there, or belongs to somebody else.
        """
        try:
            is_there = self.config.is_file() and self.group_key.is_file()
        except PermissionError as error:
            raise HomeError(f"{self.root}: no right to read it; run as the user who owns it") from error
        if not is_there:
            raise HomeError(f"{self.root} is no appliance home; run `clinappliance --home {self.root} init`")
        return self

    def _folders(self) -> tuple[Path, ...]:
        return (self.root, self.models, self.repository, self.corpora, self.keys, self.logs, self.run)

    def _make_database(self) -> list[Path]:
        from appliance.config import load
        from appliance.storage import Storage

        place = load(self).database.place(self.database)
        is_new = place == self.database and not self.database.exists()
        Storage(place).close()
        return [self.database] if is_new else []


def _make_folder(path: Path) -> bool:
    """Make `path` for its owner alone; an existing one is closed to others, too."""
    is_new = not path.is_dir()
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o700)
    return is_new


def _make_file(path: Path, content: bytes) -> bool:
    """Write `path` whole and durably, or not at all; False where it exists, also where another process makes it now."""
    if path.exists():
        return False
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(partial, path)
    except FileExistsError:
        return False
    finally:
        partial.unlink()
    return True
