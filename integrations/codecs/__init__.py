"""Codecs: bytes to records and back."""


class CodecError(Exception):
    """A message cannot be read, or a result cannot be written, without guessing.

    `condition` is its code of HL7 table 0357, for the NAK. The message quotes nothing of what was received.
    """

    def __init__(self, reason: str, condition: str = "207") -> None:
        super().__init__(reason)
        self.condition = condition
