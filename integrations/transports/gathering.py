"""Many conversations, one thread: messages that wait at a time are handed over together, and each gets its own answer."""

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
    """Hands messages over in groups, in their order. Nobody waits for others to come: the thread takes all that is there.

    One thread, because messages that two of them keep may pass each other, and two commits at a time are slower than one.
    Lives in one event loop; only `receive_all` runs elsewhere.
    """

    def __init__(self, receive_all: ReceiveAll, most: int) -> None:
        """Nothing waits yet.

        Args:
            receive_all: called with `most` messages at most.
            most: how many go together.
        """
        self._receive_all, self._most = receive_all, most
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="mllp")
        self._waiting: deque[tuple[Arrival, asyncio.Future[bytes]]] = deque()
        self._working: asyncio.Task[None] | None = None

    async def answer(self, peer: str, body: bytes) -> bytes:
        """The answer to one message.

        Raises:
            Exception: what `receive_all` raises when it is given this message alone.
        """
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting.append(((peer, body), answer))
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work())
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
