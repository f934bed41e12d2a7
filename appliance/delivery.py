"""The outbox's way to the EHR: sent until confirmed, set aside when refused."""

import logging
from collections.abc import Callable

from appliance import metrics
from appliance.storage import Storage
from appliance.trouble import explain
from integrations.mailbox import retry_delay_s
from integrations.transports.fhir_rest import Refused, Retry

logger = logging.getLogger(__name__)

FHIR = "fhir"
"""The destination that is a FHIR server."""
LEASE_S = 120.0
LONGEST_WISH_S = 3600.0
"""What a server may ask us to wait, at most."""


class Delivery:
    """Sends one delivery per step. For one thread."""

    def __init__(self, storage: Storage, post: Callable[[bytes], object]) -> None:
        """Nothing is sent yet.

        Args:
            storage: whose outbox is emptied.
            post: sends one FHIR Bundle, as JSON; raises Retry or Refused.
        """
        self._outbox, self._post = storage.outbox, post

    def step(self) -> bool:
        """Send the oldest delivery that is due; False when none is.

        Raises:
            Retry: the destination cannot take it now; it stays owed, and the caller should pause.
        """
        owed = self._outbox.claim(LEASE_S)
        if owed is None:
            return False
        fields = {"message_id": owed.message_id, "attempts": owed.attempts}
        try:
            self._post(owed.body)
        except Retry as error:
            delay_s = max(retry_delay_s(owed.attempts), min(error.after_s or 0, LONGEST_WISH_S))
            self._outbox.release(owed.outbox_id, delay_s, explain(error))
            metrics.DELIVERIES.labels(owed.destination, "retried").inc()
            raise
        except Refused as error:
            self._outbox.park(owed.outbox_id, explain(error))
            metrics.DELIVERIES.labels(owed.destination, "refused").inc()
            logger.warning("delivery refused: %s", error, extra=fields)
            return True
        self._outbox.done(owed.outbox_id)
        metrics.DELIVERIES.labels(owed.destination, "delivered").inc()
        logger.info("delivered", extra=fields)
        return True
