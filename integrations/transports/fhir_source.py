"""Documents of a FHIR server, as they are made or changed: search by `_lastUpdated`, again and again.

A notification (rest-hook Subscription) only wakes the search up. Source: FHIR 4.0.1, RESTful API (search, paging), Search.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from prometheus_client import Gauge
from pydantic import AnyHttpUrl, BaseModel, ConfigDict, Field

from integrations.codecs.fhir_messages import Resource
from integrations.transports import Refused, Retry
from integrations.transports.arriving import Keep, Progress
from integrations.transports.fhir_server import FhirServer, name_of

SEARCHED = Gauge(
    "clinappliance_fhir_source_last_search_timestamp_seconds",
    "When the FHIR server was last searched to the end for every type, seconds since 1970.",
)

ResourceType = Literal["DocumentReference", "DiagnosticReport", "Composition", "Bundle"]


class FhirSourceConfig(BaseModel):
    """`[fhir_source]`: the FHIR server that documents are read from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: AnyHttpUrl | None = None
    """Base address of a FHIR R4 server; without one, no documents are fetched."""
    resource_types: list[ResourceType] = Field(default=["DocumentReference", "DiagnosticReport"], min_length=1)
    """What to search for; a Bundle is one of type document."""
    interval_s: float = Field(default=30, gt=0)
    """Seconds between two searches."""
    overlap_s: float = Field(default=300, ge=0)
    """How far each search reaches back before the newest document that is known, seconds: servers make documents visible in
    another order than they stamp them."""
    page_size: int = Field(default=50, ge=1, le=1000)
    """Documents that are asked for at a time."""
    timeout_s: float = Field(default=30, gt=0)
    """Seconds for connecting, and for each wait on an answer."""
    notification_secret_file: Path | None = None
    """A file that holds the secret of a Subscription; without one, notifications are not taken."""


class Polling:
    """Keeps every document that is new or changed. A step for one thread; it may be woken at any time.

    The cursor is the server's own clock: the last `_lastUpdated` of which everything is kept. It moves only after that,
    so a crash makes a document come again, and the inbox knows it. Where the server sorts, the next page is not asked for by its
    link but by time, because a document that changes meanwhile moves the others between pages, and one would be lost.
    """

    def __init__(
        self,
        server: FhirServer,
        config: FhirSourceConfig,
        keep: Keep,
        progress: Progress,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is asked for yet. Without progress, documents are read from now on.

        Args:
            server: to be read.
            config: what to search for.
            keep: keeps a message durably.
            progress: the cursor of each type.
            now: time of day.
            clock: seconds, for the server's wish to be left alone.
        """
        self._server, self._config, self._keep, self._progress = server, config, keep, progress
        self._overlap = timedelta(seconds=config.overlap_s)
        self._now, self._clock, self._not_before = now, clock, 0.0
        # Written at once: what arrives while the first search fails is not before it.
        progress.set(**{kind: _text(now()) for kind in config.resource_types if _time(progress.get(kind)) == _NEVER})
        self._known: dict[str, set[tuple[str, str]]] = {}

    def step(self) -> bool:
        """Keep what is new of every type; False, since there is nothing more to do until later.

        Raises:
            Retry, Refused: the server does not answer as it should; everything before is kept.
        """
        if self._clock() < self._not_before:
            return False
        refused = None
        for kind in self._config.resource_types:
            try:
                self._sweep(kind)
            except Retry as error:
                self._not_before = self._clock() + (error.after_s or 0.0)
                raise
            except Refused as error:
                # A server that has no Composition may have reports.
                refused = error
        if refused:
            raise refused
        SEARCHED.set_to_current_time()
        return False

    def _sweep(self, kind: str) -> None:
        newest = self._progress.get(kind)
        since = _whole_second(_time(newest) - self._overlap)
        known, self._known[kind] = self._known.get(kind, set()), set()
        page, followed = self._server.page(f"{self._server.base}/{kind}", self._query(kind, since)), set[str]()
        while True:
            stamps = self._take(kind, page.resources, known)
            is_in_order = page.is_sorted and all(stamps) and stamps == sorted(stamps, key=_time)
            newest = max([newest, *stamps], key=_time)
            if is_in_order:
                self._progress.set(**{kind: newest})
            if not page.next_url or page.next_url in followed:
                break
            if is_in_order and stamps and _whole_second(_time(stamps[-1])) > since:
                since = _whole_second(_time(stamps[-1]))
                page = self._server.page(f"{self._server.base}/{kind}", self._query(kind, since))
            else:
                followed.add(page.next_url)
                page = self._server.page(page.next_url)
        self._progress.set(**{kind: newest})

    def _take(self, kind: str, resources: tuple[Resource, ...], known: set[tuple[str, str]]) -> list[str]:
        """Keep the documents of a page; gives their times."""
        stamps = [_stamp(resource, self._now() + _MOST_AHEAD) for resource in resources]
        for resource, stamp in zip(resources, stamps, strict=True):
            name = (name_of(resource), stamp)
            if not stamp or name not in known | self._known[kind]:
                self._keep(self._server.arrival(resource))
            self._known[kind].add(name)
        return stamps

    def _query(self, kind: str, since: datetime) -> dict[str, str]:
        query = {"_lastUpdated": f"ge{_text(since)}", "_sort": "_lastUpdated", "_count": str(self._config.page_size)}
        return query | ({"type": "document"} if kind == "Bundle" else {})


_NEVER = datetime.min.replace(tzinfo=UTC)
_MOST_AHEAD = timedelta(days=1)
"""A document stamped later than this from now must not move the cursor: nothing would be found behind it."""


def _stamp(resource: Resource, latest: datetime) -> str:
    """`meta.lastUpdated`, as its server wrote it; empty where it is no time, or one to come."""
    meta = resource.get("meta")
    stamp = meta.get("lastUpdated") if isinstance(meta, dict) else None
    return stamp if isinstance(stamp, str) and _NEVER < _time(stamp) < latest else ""


def _time(stamp: str) -> datetime:
    try:
        at = datetime.fromisoformat(stamp)
        return at.astimezone(UTC) if at.tzinfo else _NEVER
    except (ValueError, OverflowError):
        return _NEVER


def _whole_second(at: datetime) -> datetime:
    # Some servers search by a coarser time than they show.
    return at.replace(microsecond=0)


def _text(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
