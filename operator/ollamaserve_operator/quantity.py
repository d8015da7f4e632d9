"""Kubernetes quantities as exact numbers, so that "1000m" is "1" and "1024Mi" is "1Gi".

The grammar is that of k8s.io/apimachinery `resource.Quantity`: a decimal with a binary or decimal
suffix, or an exponent.
"""

import re
from decimal import Decimal

_QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:([numkKMGTPE]i?)|[eE]([+-]?\d{1,3}))?")
_DECIMAL = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}


def parse(text: str | float) -> Decimal | None:
    """The number, or None where the text is no quantity."""
    match = _QUANTITY.fullmatch(str(text).strip())
    if match is None:
        return None
    number, suffix, exponent = match.groups()
    value = Decimal(number)
    if exponent:
        return value.scaleb(int(exponent))
    if suffix in _BINARY:
        return value * (1 << _BINARY[suffix])
    if suffix in _DECIMAL:
        return value.scaleb(_DECIMAL[suffix])
    return value if suffix is None else None


def equal(left: str | float, right: str | float) -> bool:
    parsed = parse(left)
    return parsed is not None and parsed == parse(right)


def larger(left: str, right: str) -> str:
    """The larger of two; `left` where they are equal or one is no quantity."""
    first, second = parse(left), parse(right)
    if first is None or second is None or first >= second:
        return left
    return right
