"""Transports: bytes between the hospital's systems and the mailbox."""
