"""Transports: bytes between the hospital's systems and the mailbox."""


class TransportError(Exception):
    """A message did not get through. The text names the peer and what happened, and quotes nothing of the message."""
