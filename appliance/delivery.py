"""The outbox's way to one destination: sent until confirmed, set aside when refused, left alone while nobody is there.

Each destination has a `Delivery` in a thread of its own, so that one that is dead, slow or broken holds up no other. In the
queue of one destination the deliveries of a patient keep their order, and patients overtake each other.
"""

import logging
import random
import time
from collections.abc import Callable

from appliance import metrics
from appliance.storage import Storage
from appliance.trouble import explain
from integrations.mailbox import OutboxMessage, retry_delay_s
from integrations.transports import Refused, Retry

logger = logging.getLogger(__name__)

LONGEST_WISH_S = 3600.0
"""What a server may ask us to wait, at most."""
MOST_TRIES = 50
"""Of a delivery whose destination is there and cannot handle it: some four hours, then it is a dead letter."""
OPENS_AFTER = 3
"""Failures in a row, after which a destination is left alone."""
PAUSED = "delivery_paused_"
"""With the destination's name behind it, what `/readyz` lists under `degraded` while it is left alone."""
LONGEST_PAUSE_S = 30.0


class CircuitBreaker:
    """Whether a destination is tried at all. For one thread, save `is_open`.

    Closed, everything is sent. After `OPENS_AFTER` failures without a success between them it is open: nothing is sent, the
    queue keeps all of it, and after a pause that doubles from 1 to 30 s (or is as long as the peer wishes) one delivery is sent
    as a probe. The first success closes it. Source: Nygard, Release It!
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Closed; `clock` counts seconds."""
        self._clock = clock
        self._failed: set[object] = set()
        self._n_probes = 0
        self._opens_at_s = 0.0

    @property
    def is_open(self) -> bool:
        """Nothing but probes is sent."""
        return len(self._failed) >= OPENS_AFTER

    def allows(self) -> bool:
        """Whether a delivery may be sent now."""
        return not self.is_open or self._clock() >= self._opens_at_s

    def succeeded(self) -> None:
        """The destination has answered for a message, whatever it said of it."""
        self._failed.clear()
        self._n_probes = 0

    def failed(self, error: Retry, outbox_id: int) -> None:
        """Count a failure; one message that the peer cannot handle counts once, however often it is sent."""
        self._failed.add(outbox_id if error.is_about_message else object())
        wish_s = 0.0 if error.is_about_message else _wish_s(error)
        if wish_s:
            # A peer that asks to be left alone is taken at its word, with everything.
            self._failed.update(object() for _ in range(OPENS_AFTER))
        if self.is_open:
            self._n_probes += 1
            self._opens_at_s = self._clock() + max(wish_s, retry_delay_s(self._n_probes, longest_s=LONGEST_PAUSE_S))


class Delivery:
    """Sends one delivery to one destination per step. For one thread."""

    def __init__(
        self,
        storage: Storage,
        destination: str,
        send: Callable[[bytes], object],
        lease_s: float,
        breaker: CircuitBreaker | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Nothing is sent yet.

        Args:
            storage: whose outbox is emptied.
            destination: its name there.
            send: sends one body; raises Retry or Refused.
            lease_s: longer than `send` ever takes: another host may take the delivery up after it.
            breaker: decides whether the destination is tried.
            chance: between 0 and 1, so that deliveries which failed together are not repeated together.
        """
        self._outbox, self._send, self._lease_s, self._chance = storage.outbox, send, lease_s, chance
        self.destination, self._breaker = destination, breaker or CircuitBreaker()
        self._confirmed: OutboxMessage | None = None
        """What the destination has confirmed and the database could not be told."""
        metrics.CIRCUIT_OPEN.labels(destination).set(0)

    @property
    def is_paused(self) -> bool:
        """The destination has failed again and again; deliveries wait, and one at a time is tried."""
        return self._breaker.is_open

    def step(self) -> bool:
        """Send the oldest delivery that is due; False when none is, or the destination is left alone.

        Raises:
            StorageError: the database did not answer; what was confirmed is ended first thing next time, not sent again.
        """
        self._end_confirmed()
        owed = self._outbox.claim(self._lease_s, self.destination) if self._breaker.allows() else None
        if owed is None:
            return False
        try:
            self._send(owed.body)
        except Retry as error:
            self._failed(owed, error)
        except Refused as error:
            self._answered()
            self._park(owed, explain(error))
        except Exception as error:
            # A fault of ours in sending this one; the others go on, and it becomes a dead letter in the end.
            self._failed(owed, Retry(f"could not be sent: {explain(error)}", is_about_message=True))
        else:
            self._answered()
            self._confirmed = owed
            self._end_confirmed()
        return True

    def _end_confirmed(self) -> None:
        if self._confirmed is not None:
            self._outbox.done(self._confirmed.outbox_id)
            self._count("delivered")
            logger.info("delivered", extra=self._fields(self._confirmed))
            self._confirmed = None

    def _failed(self, owed: OutboxMessage, error: Retry) -> None:
        was_open = self._breaker.is_open
        self._breaker.failed(error, owed.outbox_id)
        metrics.CIRCUIT_OPEN.labels(self.destination).set(self._breaker.is_open)
        if self._breaker.is_open and not was_open:
            logger.warning("%s is left alone for a while: %s", self.destination, explain(error), extra=self._fields(owed))
        if error.is_about_message and owed.attempts >= MOST_TRIES:
            self._park(owed, f"tried {owed.attempts} times; the last time: {explain(error)}")
            return
        delay_s = max(_wish_s(error), retry_delay_s(owed.attempts) * (0.5 + self._chance() / 2))
        self._outbox.release(owed.outbox_id, delay_s, explain(error))
        self._count("retried")
        logger.info("delivery will be tried again: %s", explain(error), extra=self._fields(owed))

    def _answered(self) -> None:
        if self._breaker.is_open:
            logger.info("%s takes deliveries again", self.destination)
        self._breaker.succeeded()
        metrics.CIRCUIT_OPEN.labels(self.destination).set(0)

    def _park(self, owed: OutboxMessage, reason: str) -> None:
        self._outbox.park(owed.outbox_id, reason)
        self._count("refused")
        logger.warning("delivery refused: %s", reason, extra=self._fields(owed))

    def _count(self, outcome: str) -> None:
        metrics.DELIVERIES.labels(self.destination, outcome).inc()

    def _fields(self, owed: OutboxMessage) -> dict[str, object]:
        return {"destination": self.destination, "message_id": owed.message_id, "attempts": owed.attempts}


def _wish_s(error: Retry) -> float:
    return min(error.after_s or 0.0, LONGEST_WISH_S)
