"""`run`: Triton, the MLLP listener, the worker, the deliveries and the HTTP pages, in one process tree.

The listener is up first, because a message needs only the database to be acknowledged; reading begins once the model is
there. The event loop holds the sockets; the worker, the engine's keeper and a delivery per destination are threads.
"""

import asyncio
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from shutil import disk_usage
from typing import Any, NamedTuple

import uvicorn

from appliance import intake, metrics
from appliance.config import AppConfig
from appliance.delivery import PAUSED, Delivery
from appliance.destinations import FhirDestination, destinations, owed_to
from appliance.home import Home
from appliance.keeper import EngineKeeper
from appliance.lock import only_one
from appliance.loop import Loop
from appliance.messages import OPEN, STAGES, counts
from appliance.receiving import Receiver
from appliance.routing import routes
from appliance.storage import Storage, StorageError
from appliance.web import app as web
from appliance.web.config import HttpConfig
from appliance.worker import Worker
from integrations.transports import mllp

logger = logging.getLogger(__name__)

IDLE_S = 0.5
"""How often a thread with nothing to do looks into its queue; new messages wake it at once."""
KEEPING_S = 1.0
LOOKING_S = 60.0
"""How often a FHIR server that has not yet said what it takes is asked."""
DISK_FLOOR_BYTES = 200 * 2**20
"""Below this the appliance calls itself not ready, while there is still room for what is on its way."""
STOP_S = 30.0
"""How long a stopping appliance waits for a reading or a delivery in hand."""


class ServiceError(RuntimeError):
    """The appliance cannot run; the message says what is in the way."""


class Ports(NamedTuple):
    """Where a running appliance listens."""

    mllp: int
    http: int


def run(home: Home, config: AppConfig, on_start: Callable[[Ports], None] = lambda ports: None) -> None:
    """Work until SIGTERM or SIGINT, then finish what is in hand.

    Args:
        home: made by `init`.
        config: its settings.
        on_start: called once messages are taken.
    Raises:
        LockError: another `run` works on this home.
        ServerError: Triton cannot be started here.
        ServiceError, TransportError: an address is taken.
        StorageError: the database cannot be opened.
    """
    with only_one(home.lock):
        _nothing_left_behind(home, config)
        storage = Storage(config.database.place(home.database), owner=owner(home), most_crashes=config.worker.most_crashes)
        try:
            if recovered := storage.recover():
                logger.warning("found messages that the last run had not finished", extra={"messages": recovered})
            asyncio.run(_serve(home, config, storage, on_start))
        finally:
            storage.close()


def owner(home: Home) -> str:
    """In whose name a `run` on this home claims messages: after kill -9 the next one takes up what that one had claimed."""
    return f"{socket.gethostname()}:{home.root.resolve()}"


def _nothing_left_behind(home: Home, config: AppConfig) -> None:
    """See that no acknowledged message is forgotten in the home's own file when the database moves to a server.

    Raises:
        ServiceError: there are some.
    """
    if config.database.url is None or not home.database.exists():
        return
    storage = Storage(home.database)
    try:
        left = sum(sum(counts(storage, stage, OPEN).by_state.values()) for stage in STAGES)
    finally:
        storage.close()
    if left:
        way_out = "comment [database] url out, run until `clinappliance status` shows none open, then set it again"
        raise ServiceError(f"{home.database} still holds {left} messages and deliveries that are on their way; {way_out}")


async def _serve(home: Home, config: AppConfig, storage: Storage, on_start: Callable[[Ports], None]) -> None:
    keeper = EngineKeeper(home, config)
    await asyncio.to_thread(keeper.check)
    by_code = routes(config.routing)
    told = destinations(config, storage)
    deliveries = [Delivery(storage, d.name, d.send, d.lease_s) for d in told]
    looking = [Loop(f"{d.name}_capability", d.look, LOOKING_S) for d in told if isinstance(d, FhirDestination)]
    sending = [Loop(f"delivery_{d.destination}", d.step, IDLE_S) for d in deliveries]

    def wake() -> None:
        for loop in sending:
            loop.wake()

    tasks, lease_s = config.routing.tasks, config.worker.lease_s
    worker = Worker(storage, keeper.readers, by_code, tasks, lease_s, owed_to(told), wake)
    reading = Loop("worker", worker.step, IDLE_S)
    keeping = Loop("engine", keeper.step, KEEPING_S)
    fetching = intake.loops(home, config, storage, by_code, reading.wake)
    notified = intake.notifications(config.fhir_source, fetching)
    threads = [*looking, *sending, reading, keeping, *fetching]
    receiver = Receiver(storage, by_code, reading.wake)

    def reasons() -> list[str]:
        stopped = [f"{loop.name}_stopped" for loop in threads if not loop.is_alive]
        return keeper.reasons() + stopped + _storage_reasons(storage, home)

    def degraded() -> list[str]:
        missing = [f"no_{task}_model" for task in worker.waits_for()]
        return keeper.degraded() + missing + [f"{PAUSED}{d.destination}" for d in deliveries if d.is_paused]

    async with AsyncExitStack() as stack:
        ports = Ports(
            await stack.enter_async_context(mllp.serve(config.mllp, receiver, receiver.all)),
            await stack.enter_async_context(_http(config.http, web.create(reasons, degraded, notified=notified))),
        )
        metrics.watch(storage, home.root, reasons, config.certificates)
        for loop in threads:
            loop.start()
        logger.info("taking messages", extra=ports._asdict())
        on_start(ports)
        await _signalled()
        logger.info("stopping")
    # No message is taken any more; what is claimed is finished before the engine goes.
    for loop in threads:
        loop.ask_to_stop()
    for loop in threads:
        if not await asyncio.to_thread(loop.join, STOP_S):
            logger.warning("%s did not finish in time; its message will be taken up again", loop.name)
    for destination in told:
        destination.close()
    await asyncio.to_thread(keeper.close)
    logger.info("stopped")


async def _signalled() -> None:
    """Return at the first SIGTERM or SIGINT; the second one is not waited for."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.remove_signal_handler(number)


@asynccontextmanager
async def _http(config: HttpConfig, app: Any) -> AsyncIterator[int]:
    """Serve `app` while the context is open; gives the port."""
    try:
        listener = socket.create_server(
            (config.host, config.port), family=socket.AF_INET6 if ":" in config.host else socket.AF_INET
        )
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        raise ServiceError(
            f"cannot listen on {config.host}:{config.port} ({reason}); is it taken? change [http] host or port"
        ) from None
    server = _Uvicorn(uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=2))
    task = asyncio.create_task(server.serve([listener]))
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        await task


class _Uvicorn(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to `run`."""
        yield


def _storage_reasons(storage: Storage, home: Home) -> list[str]:
    if disk_usage(home.root).free < DISK_FLOOR_BYTES:
        return ["disk_low"]
    try:
        storage.check_writable()
    except StorageError:
        return ["database_not_writable"]
    return []
