"""Pictures of an evaluation: what is written in them can be read."""

from itertools import pairwise

import pytest

from captum_ext.viz.scores import score_figure


@pytest.mark.parametrize("spread", [1e-5, 2.3e-4, 4e-3, 0.3])
@pytest.mark.parametrize("n_methods", [1, 2, 9])
def test_labels_of_scores_do_not_overlap_however_near_the_scores_are(spread, n_methods):
    names = {f"m{k}": f"method {k}" for k in range(n_methods)}
    rows = [
        (name, 0.26827 + k * spread, 0.26827 + (k + 1) * spread, 0.26827 + (k + 2) * spread)
        for k, name in enumerate(names)
    ]
    figure = score_figure(dict.fromkeys("abcd", rows), names)
    figure.canvas.draw()
    for ax in figure.axes:
        boxes = [label.get_window_extent() for label in ax.get_xticklabels() if label.get_text()]
        low, high = ax.get_window_extent().intervalx
        seen = [box for box in boxes if low <= box.x0 + box.width / 2 <= high]
        assert len(seen) > 1
        assert all(one.x1 < other.x0 for one, other in pairwise(seen))
        # Marks are whole, not cut in half by the frame.
        assert ax.get_ylim()[0] < 0
        assert ax.get_ylim()[1] > n_methods - 1
