"""Quantities: equal ones are equal however they are written."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollamaserve_operator import quantity


@pytest.mark.parametrize(
    ("left", "right"),
    [("1000m", "1"), ("1024Mi", "1Gi"), ("0.5", "500m"), ("1e3", "1k"), ("2", "2.0"), (2, "2")],
)
def test_equal_however_written(left: str, right: str) -> None:
    """The API server rewrites quantities: that is no drift."""
    assert quantity.equal(left, right)


@pytest.mark.parametrize(
    ("left", "right"), [("1", "1m"), ("1Gi", "1G"), ("", ""), ("big", "big"), ("1 Gi", "1Gi")]
)
def test_not_equal(left: str, right: str) -> None:
    """Other amounts differ, and what is no quantity equals nothing."""
    assert not quantity.equal(left, right)


@given(st.integers(0, 10**9))
def test_binary_and_decimal_agree_with_arithmetic(number: int) -> None:
    """Suffixes are exact powers."""
    assert quantity.parse(f"{number}Ki") == Decimal(number * 1024)
    assert quantity.parse(f"{number}k") == Decimal(number * 1000)


def test_larger_keeps_the_first_of_equals() -> None:
    """What is there already is kept as it is written."""
    assert quantity.larger("1024Mi", "1Gi") == "1024Mi"
    assert quantity.larger("1Gi", "2Gi") == "2Gi"
    assert quantity.larger("3Gi", "2Gi") == "3Gi"
    assert quantity.larger("1Gi", "big") == "1Gi"
