"""What the soak calls flat: a line through samples, and the scatter around it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.soak.samples import trend

MINUTES = [float(minute) for minute in range(60)]


@given(st.floats(1, 1e6), st.lists(st.floats(-1, 1), min_size=60, max_size=60))
def test_scatter_alone_is_flat(level: float, scatter: list[float]) -> None:
    """Whatever the scatter is, within 1 % of the level it is no growth."""
    assert trend(MINUTES, [level * (1 + 0.005 * by) for by in scatter]).flat


@pytest.mark.parametrize(("growth", "flat"), [(0.0, True), (0.015, True), (0.03, False)])
@pytest.mark.parametrize("noise", [0.0, 0.001])
def test_growth_is_what_scatter_does_not_explain(
    growth: float, noise: float, *, flat: bool
) -> None:
    """More than 2 % in the whole time, and more than twice the scatter."""
    values = [100 * (1 + growth * at / 59 + noise * (-1) ** at) for at in range(60)]
    found = trend(MINUTES, values)

    assert found.flat is flat
    assert found.growth == pytest.approx(100 * growth, abs=0.2)


def test_what_shrinks_is_flat() -> None:
    """Memory that is given back is no leak."""
    assert trend(MINUTES, [100 - minute for minute in MINUTES]).flat
