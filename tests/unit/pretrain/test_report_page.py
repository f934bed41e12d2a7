"""The page: every figure is on it, what was not measured says so, and it needs nothing but itself."""

import re
from dataclasses import replace

import pytest

from pretrain.fertility import Fertility
from pretrain.report_page import RunReport, page


@pytest.fixture(scope="module")
def run() -> RunReport:
    measured = {"recall": {"share": 0.9, "n": 10, "low": 0.6, "high": 0.98}, "precision": None}
    return RunReport(
        title="q@1",
        facts={"size": "mini"},
        notes_read=1234,
        documents=1000,
        held_out=50,
        tokens=250_000,
        kinds={"radiology_report": 600, "other": 400},
        drops={"too short": 184},
        remarks={"read as <latin>": 3},
        lengths=[(128, 400), (1024, 600)],
        deidentified_by="rules 1",
        deidentification={"name": measured},
        fertility=[Fertility("this model's", 16_384, 1.4, 4.25), Fertility("<t5>", 32_100, 1.75, 3.5)],
        history=[
            {"step": 1, "smoothed_loss": 9.0, "tokens": 100, "tokens_per_s": 50, "dev_loss": 8.5},
            {"step": 2, "smoothed_loss": 8.0, "tokens": 200, "tokens_per_s": 60},
        ],
        dev_loss_by_kind={"radiology_report": 8.25},
        flops={"exact": 1e12, "6PT": 2e12},
        seconds=7200.0,
        devices=2,
        device_name="CPU core",
        kwh=0.125,
        kwh_source="an estimate",
        mfu=0.41,
        mfu_against="100 GFLOP/s, measured here",
        leak_gate={"passed": True, "reasons": [], "levels": [{"repeats": 1, "n": 6, "median_exposure": 1.0, "p_value": 0.5}]},
    )


def test_every_figure_is_on_the_page(run: RunReport) -> None:
    text = page(run)
    for figure in (
        "1,234",
        "184",
        "too short",
        "250,000",
        "1.40",
        "4.25",
        "32,100",
        "1.75",
        "0.900 (0.600 to 0.980) of 10",
        "none",
        "to 1,024",
        "8.250",
        "41.0 %",
    ):
        assert figure in text
    for figure in (
        "100 GFLOP/s, measured here",
        "4.00",
        "0.125",
        "1e+12",
        "leak gate passed",
        "median exposure",
        "radiology_report",
    ):
        assert figure in text


def test_it_needs_nothing_but_itself(run: RunReport) -> None:
    text = page(run)
    assert "<script" not in text
    assert not re.search(r'(?:src|href)="(?!#)', text)


def test_names_are_escaped(run: RunReport) -> None:
    assert "read as &lt;latin&gt;" in page(run)
    assert "&lt;t5&gt;" in page(run)


def test_a_model_that_failed_or_never_saw_the_gate_says_so_at_the_top(run: RunReport) -> None:
    failed = page(replace(run, leak_gate=dict(run.leak_gate) | {"passed": False, "reasons": ["level 1 is remembered"]}))
    assert "leak gate failed: this model may not be promoted" in failed
    assert "level 1 is remembered" in failed
    assert "leak gate not run" in page(replace(run, leak_gate={}))


def test_what_was_not_measured_says_so(run: RunReport) -> None:
    text = page(replace(run, deidentification={}, dev_loss_by_kind={}, lengths=[], history=[], mfu=None, drops={}, fertility=[]))
    for words in (
        "not measured in this run",
        "No held-out notes",
        "No held-out notes to measure it on",
        "No document.",
        "Nothing was left out.",
    ):
        assert words in text
