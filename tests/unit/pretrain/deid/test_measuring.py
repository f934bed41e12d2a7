import pytest

from pretrain.deid import Case, Identifier, Kind, measure
from pretrain.deid.measuring import wilson

TEXT = "Dr. Ann\nLee saw him on 3/4."
LEE, DAY = Identifier(4, 11, Kind.NAME), Identifier(23, 26, Kind.DATE)


def test_an_identifier_is_found_when_all_of_it_but_white_space_is_covered():
    halves = [Identifier(4, 7, Kind.NAME), Identifier(8, 11, Kind.DATE)]
    assert measure([Case(TEXT, [LEE], halves)])["name"]["recall"]["share"] == 1.0
    assert measure([Case(TEXT, [LEE], [Identifier(4, 10, Kind.NAME)])])["name"]["recall"]["share"] == 0.0


@pytest.mark.parametrize(("end", "share"), [(15, 1.0), (17, 0.0)])
def test_what_is_found_is_right_when_half_of_it_is_of_an_identifier(end, share):
    # "Lee saw": three of six letters are of the name; of "Lee saw h" three of seven.
    assert measure([Case(TEXT, [LEE], [Identifier(8, end, Kind.NAME)])])["name"]["precision"]["share"] == share


def test_each_kind_is_counted_apart_and_cases_add_up():
    figures = measure([Case(TEXT, [LEE, DAY], [DAY]), Case(TEXT, [DAY], [])])
    assert (figures["name"]["recall"]["n"], figures["name"]["recall"]["share"], figures["name"]["precision"]) == (1, 0.0, None)
    assert (figures["date"]["recall"]["n"], figures["date"]["recall"]["share"]) == (2, 0.5)
    assert figures["date"]["precision"]["share"] == 1.0


@pytest.mark.parametrize(("hits", "n", "low", "high"), [(10, 10, 0.722, 1.0), (8, 10, 0.490, 0.943), (0, 20, 0.0, 0.161)])
def test_the_interval_is_wilsons(hits, n, low, high):
    # Reference values: scipy.stats.binomtest(...).proportion_ci(method="wilson"), rounded.
    got = wilson(hits, n)
    assert got is not None
    assert (round(got["low"], 3), round(got["high"], 3)) == (low, high)


def test_nothing_has_no_share():
    assert wilson(0, 0) is None
    assert measure([]) == {}


def test_a_case_does_not_print_its_text():
    assert "Lee" not in repr(Case(TEXT, [LEE], []))
