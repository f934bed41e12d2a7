"""Certificates for tests, made by the `openssl` command: an authority and what it signs."""

import subprocess
from pathlib import Path
from typing import NamedTuple


class Pair(NamedTuple):
    """A certificate and its key, PEM."""

    certificate: Path
    key: Path


class Authority:
    """Signs certificates; its own is `certificate`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self.certificate, self._key = folder / "ca.pem", folder / "ca.key"
        self._openssl("req", "-x509", *_new_key(self._key), "-out", self.certificate, "-subj", "/CN=authority", "-days", 2)

    def sign(self, name: str, days: int = 2) -> Pair:
        """A certificate for 127.0.0.1; one of -1 days has expired."""
        asked, made, key, names = (self._folder / f"{name}.{end}" for end in ("csr", "pem", "key", "ext"))
        names.write_text("subjectAltName=IP:127.0.0.1\n", encoding="ascii")
        self._openssl("req", *_new_key(key), "-out", asked, "-subj", f"/CN={name}")
        by = ("-CA", self.certificate, "-CAkey", self._key, "-CAcreateserial", "-extfile", names)
        self._openssl("x509", "-req", "-in", asked, *by, "-days", days, "-out", made)
        return Pair(made, key)

    @staticmethod
    def _openssl(*words: object) -> None:
        subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)


def _new_key(path: Path) -> tuple[object, ...]:
    return "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", path
