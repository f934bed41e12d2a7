"""Many conversations, few threads: messages that wait at a time are handed over together, and each gets its own answer."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

logger = logging.getLogger(__name__)

Arrival = tuple[str, bytes]
"""Who sent a message, as `HOST:PORT`, and its bytes."""
ReceiveAll = Callable[[Sequence[Arrival]], Sequence[bytes]]
"""Keeps messages durably, in their order, then gives the answer to each; empty where its sender wants none. May block."""


class Gathering:
    """Hands messages over in groups. Nobody waits for others to come: a free thread takes all that is there.

    Lives in one event loop; only `receive_all` runs elsewhere.
    """

    def __init__(self, receive_all: ReceiveAll, most: int, threads: int) -> None:
        """Nothing waits yet.

        Args:
            receive_all: called with `most` messages at most.
            most: how many go together.
            threads: how many groups may be under way.
        """
        self._receive_all, self._most, self._threads = receive_all, most, threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="mllp")
        self._waiting: deque[tuple[Arrival, asyncio.Future[bytes]]] = deque()
        self._working: set[asyncio.Task[None]] = set()

    async def answer(self, peer: str, body: bytes) -> bytes:
        """The answer to one message.

        Raises:
            Exception: what `receive_all` raises when it is given this message alone.
        """
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting.append(((peer, body), answer))
        if len(self._working) < self._threads:
            task = asyncio.create_task(self._work())
            self._working.add(task)
            task.add_done_callback(self._working.discard)
        return await answer

    def close(self) -> None:
        """Take nothing more; what is under way is not waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _work(self) -> None:
        while self._waiting:
            group = [self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))]
            await self._hand_over(group)

    async def _hand_over(self, group: list[tuple[Arrival, "asyncio.Future[bytes]"]]) -> None:
        run = asyncio.get_running_loop().run_in_executor
        try:
            answers = await run(self._pool, self._receive_all, [arrival for arrival, _ in group])
        except Exception as error:
            if len(group) > 1:
                # One message that cannot be kept must not hold up those beside it.
                logger.warning("%d messages could not be kept together (%s); trying one by one", len(group), type(error).__name__)
                for one in group:
                    await self._hand_over([one])
            elif not group[0][1].done():
                group[0][1].set_exception(error)
            return
        for (_, answer), found in zip(group, answers, strict=True):
            if not answer.done():
                answer.set_result(found)
