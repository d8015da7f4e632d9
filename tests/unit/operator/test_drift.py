"""Drift: what was wanted and is no longer so; never what somebody else added."""

from typing import Any

import pytest

from ollamaserve_operator.drift import covers

Pair = tuple[Any, Any]

SAME: dict[str, Pair] = {
    "fields of others": ({"a": 1, "b": 2}, {"a": 1}),
    "empty is as absent": ({}, {"a": {}, "b": [], "c": ""}),
    "quantities": ({"limits": {"cpu": "1"}}, {"limits": {"cpu": "1000m"}}),
    "size limit": ({"sizeLimit": "1Gi"}, {"sizeLimit": "1024Mi"}),
    "another container": (
        {"containers": [{"name": "x"}, {"name": "a", "image": "i"}]},
        {"containers": [{"name": "a", "image": "i"}]},
    ),
    "defaults within an item": (
        {"ports": [{"name": "http", "port": 1, "nodePort": 3}]},
        {"ports": [{"name": "http", "port": 1}]},
    ),
}

DRIFTED: dict[str, Pair] = {
    "value": ({"a": 2}, {"a": 1}),
    "absent": ({}, {"a": 1}),
    "false is not true": ({"a": True}, {"a": False}),
    "container gone": ({"containers": []}, {"containers": [{"name": "a"}]}),
    "item without its key": ({"ports": [{"port": 1}]}, {"ports": [{"name": "http", "port": 1}]}),
    "argument added": ({"args": ["a", "b"]}, {"args": ["a"]}),
    "argument changed": ({"args": ["b"]}, {"args": ["a"]}),
    "key projected besides": (
        {"items": [{"key": "a"}, {"key": "username"}]},
        {"items": [{"key": "a"}]},
    ),
    "selector narrowed": ({"selector": {"a": "1", "b": "2"}}, {"selector": {"a": "1"}}),
    "quantity": ({"limits": {"cpu": "2"}}, {"limits": {"cpu": "1"}}),
    "equal amounts that are no quantities": (
        {"env": [{"name": "X", "value": "1000m"}]},
        {"env": [{"name": "X", "value": "1"}]},
    ),
    "another type": ({"a": "text"}, {"a": {"b": 1}}),
    "list for a map": ({"a": {"b": 1}}, {"a": ["b"]}),
}


@pytest.mark.parametrize(("observed", "wanted"), SAME.values(), ids=SAME.keys())
def test_still_as_wanted(observed: Any, wanted: Any) -> None:
    """Defaults, other people's fields and other spellings are no drift."""
    assert covers(observed, wanted)


@pytest.mark.parametrize(("observed", "wanted"), DRIFTED.values(), ids=DRIFTED.keys())
def test_drifted(observed: Any, wanted: Any) -> None:
    """A wanted field that is gone or another value is drift, in lists and maps as well."""
    assert not covers(observed, wanted)
