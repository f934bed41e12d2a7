"""Pictures: a PNG whatever the history."""

import pytest

from pretrain.plots import loss_curve


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
