"""Pictures: a PNG whatever the history."""

from xml.etree import ElementTree

import pytest

from pretrain.plots import MOST_POINTS, bars_svg, loss_curve, loss_svg, pace_svg


@pytest.mark.parametrize(
    ("history", "dev"),
    [([(1, 9.0), (2, 8.0)], [(2, 8.5)]), ([(1, 9.0)], []), ([], [(3, 4.0)]), ([], [])],
)
def test_a_picture_is_drawn(tmp_path, history, dev):
    loss_curve(history, dev, tmp_path / "loss.png")
    data = (tmp_path / "loss.png").read_bytes()
    assert data.startswith(b"\x89PNG")
    # Width and height of the header: 7 x 4 inches at 150 dots.
    assert (int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")) == (1050, 600)


def test_the_same_figures_give_the_same_svg_and_it_can_be_parsed():
    for svg in (
        lambda: loss_svg([(1, 9.0), (2, 8.0)], []),
        lambda: pace_svg([(10, 99.0)]),
        lambda: bars_svg(["few", "many"], [3, 4], "x", "y"),
    ):
        assert svg() == svg()
        assert ElementTree.fromstring(svg()).tag.endswith("svg")


def test_a_long_training_weighs_no_more_than_a_thousand_points_and_ends_where_it_ended():
    long = [(step, 1 / step) for step in range(1, 100_001)]
    assert len(loss_svg(long, [])) < 2 * len(loss_svg(long[:MOST_POINTS], [])) < 200_000
    assert pace_svg(long) != pace_svg([*long[:-1], (200000, 1.0)])
