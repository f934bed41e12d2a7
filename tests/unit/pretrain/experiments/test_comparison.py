"""Tables, regressions and break-even: what they make of trials, and of the paper's own figures."""

from dataclasses import replace

import pytest

from pretrain.experiments import comparison
from pretrain.experiments.comparison import Pretrained, break_even_tokens, cost, flops, is_clinical, regression
from pretrain.experiments.trials import FIGURE, Trial
from pretrain.models.systems import SYSTEMS, system_named


def trial(system="GatorTron", task="mednli", seed=0, share=1.0, value=0.8, tokens=1000):
    scores = {"accuracy": value, "ci95": {"accuracy": [value - 0.1, value + 0.1]}, "n_pairs": 50}
    if task == "radqa":
        scores = {"em": value / 2, "f1": value, "ci95": {"f1": [value - 0.1, value + 0.1]}, "n_questions": 50}
    sums = [[round(10 * value), 10]] * 5
    return Trial(system, "m", task, "d", seed, share, True, 100, scores, 345_000_000, tokens, 1e12, 1.0, sums)


def test_a_difference_is_taken_on_the_same_patients_however_much_they_differ_from_each_other():
    # Every patient of one system has one right answer of ten more, and patients differ by much more than that.
    ours = [[right, 10] for right in (1, 3, 5, 7, 9)]
    theirs = [[right - 1, 10] for right, _ in ours]
    found = comparison.measured([replace(trial(value=0.5), sums=ours), replace(trial("T5-XL", value=0.4), sums=theirs)])
    [one] = comparison.differences(found)
    assert (one.system, one.best, one.task) == ("T5-XL", "GatorTron", "mednli")
    assert one.value == pytest.approx(-0.1)
    assert one.ci95 == pytest.approx((-0.1, -0.1))


def test_an_interval_of_a_difference_covers_seeds_too():
    seeds = [replace(trial(seed=n, value=0.5), sums=[[right, 10]] * 5) for n, right in enumerate((4, 6))]
    found = comparison.measured([*seeds, replace(trial("T5-XL", value=0.4), sums=[[4, 10]] * 5)])
    [one] = comparison.differences(found)
    assert one.ci95 == pytest.approx((-0.2, 0.0))


def test_one_system_alone_has_nothing_to_differ_from():
    assert list(comparison.differences(comparison.measured([trial()]))) == []


def test_trials_of_one_system_and_share_become_their_mean_with_both_kinds_of_spread():
    one, other = comparison.measured([trial(value=0.7), trial(seed=1, value=0.8), trial(share=0.25, value=0.5)])
    assert (one.seeds, other.seeds) == (2, 1)
    assert one.figures["accuracy"] == pytest.approx(0.75)
    assert one.between["accuracy"] == pytest.approx((0.65, 0.85))
    assert one.spread["accuracy"] == (0.7, 0.8)
    assert other.share == 0.25


def test_the_papers_own_break_even_comes_out_of_its_equation():
    ours, theirs = Pretrained("Clinical-T5-Large", 770e6, 1.0, 38e9), Pretrained("T5-XL", 3e9)
    assert break_even_tokens(ours, theirs) == pytest.approx(39.4e9, rel=0.002)
    assert break_even_tokens(ours, Pretrained("T5-XL", 3e9, 1.12)) == pytest.approx(33.9e9, rel=0.002)
    base, large = Pretrained("Clinical-T5-Base", 220e6, 1.0, 40e9), Pretrained("T5-Large", 770e6)
    assert break_even_tokens(base, large) == pytest.approx(48.0e9, rel=0.002)


def test_at_break_even_both_have_cost_the_same_and_after_it_the_smaller_less():
    ours, theirs = Pretrained("a", 1e8, 1.1, 5e9, 2e8), Pretrained("b", 1e9, 1.3, 0.0, 1e8)
    tokens = break_even_tokens(ours, theirs)
    assert cost(ours, tokens) == pytest.approx(cost(theirs, tokens))
    assert cost(ours, 2 * tokens) < cost(theirs, 2 * tokens)


def test_a_model_that_costs_more_to_use_never_breaks_even_and_one_with_nothing_to_pay_does_at_once():
    assert break_even_tokens(Pretrained("a", 1e9, 1.0, 1e9), Pretrained("b", 1e9)) is None
    assert break_even_tokens(Pretrained("a", 1e8), Pretrained("b", 1e9, 1.0, 0.0, 1e6)) == 0.0


def test_by_what_the_paper_printed_its_clinical_t5_large_has_paid_for_itself_against_t5_xl():
    rows = {(one.specialised, one.general, one.task): one for one in comparison.break_even(SYSTEMS, (), {}, use_printed=True)}
    found = rows["Clinical-T5-Large", "T5-XL", "radqa"]
    assert found.tokens == pytest.approx(39.4e9, rel=0.002)
    assert found.better_by == pytest.approx(0.745 - 0.729)
    assert found.gpu_hours == pytest.approx(found.operations / (989e12 * 0.4 * 3600))
    assert found.kwh == pytest.approx(0.7 * found.gpu_hours)
    # A model that is not as good is no choice, whatever it costs.
    assert ("Clinical-T5-Base", "T5-XL", "mednli") not in rows
    assert all(one.general not in ("Flan-T5-XXL", "GPT-3") for one in rows.values())


def test_a_vocabulary_that_needs_more_tokens_is_paid_for_in_each():
    found = comparison.measured([trial("Clinical-T5-Large"), trial("T5-XL", value=0.7)])
    plain, weighed = (
        next(comparison.break_even(SYSTEMS, found, fertility, use_printed=False))
        for fertility in ({}, {"T5-XL": 0.28, "Clinical-T5-Large": 0.25})
    )
    assert weighed.tokens < plain.tokens


def test_regression_goes_through_points_on_a_line_and_needs_two():
    line = regression([(1e18, 0.5), (1e19, 0.6), (1e20, 0.7)])
    assert line.slope == pytest.approx(0.1)
    assert line.at(1e21) == pytest.approx(0.8)
    assert regression([(1e18, 0.5), (1e18, 0.9)]) is None
    assert regression([]) is None


def test_by_architecture_only_an_encoder_decoder_costs_half():
    for name, share in (("T5-Base", 0.5), ("GatorTron", 1.0), ("PubMedGPT", 1.0)):
        system = system_named(name)
        assert flops(system, "by architecture") == pytest.approx(share * flops(system, "6PT"))
    assert flops(system_named("GPT-3"), "6PT") is None


def test_who_has_read_clinical_notes():
    clinical = {name for name, system in SYSTEMS.items() if is_clinical(system)}
    assert clinical == {"Clinical-T5-Base-Ckpt", "Clinical-T5-Base", "BioClinRoBERTa", "GatorTron", "Clinical-T5-Large"}


def test_a_table_has_the_printed_figure_beside_the_measured_one_and_neither_stands_for_the_other():
    rows = {row["system"]: row for row in comparison.results_table(SYSTEMS, comparison.measured([trial(), trial(task="radqa")]))}
    assert rows["GatorTron"]["mednli_accuracy"] == 0.8
    assert rows["GatorTron"]["mednli_accuracy_printed"] == 0.883
    assert rows["GatorTron"]["radqa_f1_ci95_low"] == pytest.approx(0.7)
    assert rows["T5-XL"]["mednli_accuracy"] is None
    assert rows["ModernBERT-Large"]["mednli_accuracy_printed"] is None
    assert list(rows) == list(SYSTEMS)


def test_an_ablation_table_marks_what_is_read_off_the_papers_figure():
    rows = comparison.ablation_table(comparison.measured([trial(share=0.25)]))
    assert [row["value"] for row in rows if row["source"] == "measured"] == [0.8]
    printed = [row for row in rows if row["source"] == "printed"]
    assert len(printed) == 3 * 5 * 5 - 2  # two points lie behind another line
    for row in printed:
        # Read off at 100 % it is what the table prints, but for the one that the paper itself prints otherwise.
        if row["share"] == 1.0 and (row["system"], row["task"]) != ("PubMedGPT", "radqa"):
            told = comparison.printed(SYSTEMS[row["system"]], row["task"], FIGURE[row["task"]])
            assert row["value"] == pytest.approx(told, abs=0.003)
