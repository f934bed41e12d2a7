from datetime import UTC, datetime

from pretrain.bundle import Manifest
from pretrain.model_card import model_card
from pretrain.tasks import clip

MANIFEST = Manifest(
    name="q",
    task="clip",
    version=3,
    size="small",
    labels=clip.LABELS,
    cutoffs=(0.5,) * 7,
    window_tokens=512,
    metrics={},
    flops={"pretraining, 6PT": 1.5e15, "pretraining, exact": 0.9e15},
    corpus_fingerprint="f00d",
    taught_by="In-house labels of 24 notes",
    created_at=datetime(2026, 1, 2, 3, 4, tzinfo=UTC),
    package_version="0.1.0",
)


def test_the_card_says_what_the_model_is_what_taught_it_and_what_it_cost(make_note):
    note = make_note("a", [("One.", {"Lab"}), ("Two.", set())])
    card = model_card(MANIFEST.model_copy(update={"metrics": clip.score([note], [[]])}))
    assert card.startswith("# q@3, clip\n")
    for said in (
        "small encoder",
        "Made 2026-01-02 03:04 UTC by clinappliance 0.1.0.",
        "In-house labels of 24 notes.",
        "Pretraining corpus: f00d.",
        "On n = 1 notes, 2 sentences that it was not taught with",
        "| micro | 0.000 | 0.000 to 0.000 |",
        "| Lab | 0.000 | 0.000 | 0.000 | 1 |",
        "| pretraining, 6PT | 1.5e+15 |",
        "| pretraining, exact | 9e+14 |",
        "no score here is a CLIP score",
    ):
        assert said in card


def test_a_card_says_from_which_score_on_it_is_sure():
    assert "From a score of 0.640 on at least nine of ten" in model_card(MANIFEST.model_copy(update={"sure_from": 0.64}))
    assert "everything is shown as unsure" in model_card(MANIFEST)


def test_a_card_without_measurement_or_pretraining_says_so():
    card = model_card(MANIFEST.model_copy(update={"corpus_fingerprint": ""}))
    assert "no notes were left to measure on" in card
    assert "Not pretrained" in card


def test_a_card_says_whether_the_model_gives_away_what_it_read():
    levels = [{"repeats": 8, "n": 6, "p_value": 0.00012}]
    passed = model_card(MANIFEST.model_copy(update={"leak_gate": {"passed": True, "reasons": [], "levels": levels}}))
    assert "\nPassed. " in passed
    assert "| repeats | n | p_value |" in passed
    assert "| 8 | 6 | 0.00012 |" in passed
    failed = model_card(MANIFEST.model_copy(update={"leak_gate": {"passed": False, "reasons": ["too keen"], "levels": []}}))
    assert "**Failed: it may not be promoted.** too keen." in failed
    assert "Not run: it may not be promoted." in model_card(MANIFEST)
