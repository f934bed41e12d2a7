"""What `train` says at its end."""

from appliance.cli.train import _summary


def test_a_tagger_that_nothing_was_left_to_measure_is_said_to_be_unmeasured() -> None:
    said = _summary({"name": "q", "registered": ["q@1 (base)", "q@1 (clip)"], "clip": {}, "promoted": "q@1"})
    assert "not measured: no labelled patient was left to measure on" in said
    assert "q@1 is promoted" in said


def test_a_base_alone_says_nothing_of_measuring() -> None:
    assert _summary({"name": "q", "registered": ["q@1 (base)"]}) == "q: registered q@1 (base)"
