"""Transports: bytes between the hospital's systems and the mailbox."""


class TransportError(Exception):
    """A message did not get through. The text names the peer and what happened, and quotes nothing of the message."""


class Retry(TransportError):  # noqa: N818 - what to do, as the outbox reads it
    """Not delivered, or not known to be: the same may be sent again."""

    def __init__(self, reason: str, after_s: float | None = None, *, is_about_message: bool = False) -> None:
        """Say what happened.

        Args:
            reason: for a person; quotes nothing of the message.
            after_s: how long the peer wishes to be left alone.
            is_about_message: the peer is there and could not handle this one; others may fare better.
        """
        super().__init__(reason)
        self.after_s, self.is_about_message = after_s, is_about_message


class Refused(TransportError):  # noqa: N818
    """The peer does not want it; sending it again is of no use. `status` is HTTP's, 0 where there is none."""

    def __init__(self, reason: str, status: int = 0) -> None:
        super().__init__(reason)
        self.status = status
