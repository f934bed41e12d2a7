"""What long work shows in a log: how far it is and how long it will take, now and then."""

import time

import pytest

from appliance.cli import progress
from appliance.cli.progress import TerminalWatch


def test_work_says_how_far_it_is_and_how_long_the_rest_will_take(capsys: pytest.CaptureFixture[str]) -> None:
    with TerminalWatch() as watch:
        watch.phase("Reading")
        watch._began = time.monotonic() - 60
        watch.work(1_000, 4_000, "notes")
    assert capsys.readouterr().err.splitlines() == ["Reading", "   25%  1,000 of 4,000 notes  3:00 left"]


def test_a_log_gets_a_line_now_and_then_and_one_at_once_when_a_phase_begins(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with TerminalWatch() as watch:
        for phase in ("Reading", "Packing"):
            watch.phase(phase)
            for done in range(4):
                watch.work(done, 0, "notes")
        monkeypatch.setattr(progress, "LOG_EVERY_S", 0.0)
        watch.work(3, 4, "notes")
    lines = capsys.readouterr().err.splitlines()
    assert [line.strip().split("  ")[0] for line in lines] == ["Reading", "0%", "Packing", "0%", "75%"]
