"""Who watches a training in tests."""


class Quiet:
    """An `appliance.training.Watch` that shows nothing and keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def phase(self, name: str) -> None:
        self.lines.append(name)

    def say(self, line: str) -> None:
        self.lines.append(line)

    def step(self, report: object) -> None:
        """Nothing to keep."""

    def work(self, done: int, total: int, unit: str) -> None:
        """Nothing to keep."""
