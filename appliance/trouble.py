"""What may be said about an exception: to a person, in a log, or as the reason of a parked message."""

import traceback
from pathlib import Path

OURS = frozenset({"appliance", "pretrain", "serving", "integrations"})


def explain(error: BaseException) -> str:
    """One line that quotes nothing an exception may have been given.

    Our own exceptions are written to be read. Any other may carry what it choked on, which can be a note: of those
    only the kind and the place are told.
    """
    if type(error).__module__.split(".")[0] in OURS:
        return " ".join(str(error).split())
    frames = traceback.extract_tb(error.__traceback__)
    mine = [frame for frame in frames if "site-packages" not in frame.filename]
    place = (mine or frames)[-1:]
    return f"internal error {type(error).__name__}" + "".join(f" in {f.name}, {Path(f.filename).name}:{f.lineno}" for f in place)
