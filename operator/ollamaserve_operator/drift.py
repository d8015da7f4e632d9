"""Whether an object still is what was wanted of it, judged by the fields that were wanted.

Fields that nobody wanted here are not ours: defaults of the API server, what admission or another
controller adds. The lists below merge by key on the server, so others may add to them; every other
list is one value, as some maps are (Kubernetes API reference: patch strategy, listType, mapType).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ollamaserve_operator import quantity

_MERGED_BY = {
    "containers": "name",
    "initContainers": "name",
    "env": "name",
    "imagePullSecrets": "name",
    "ownerReferences": "uid",
    "ports": "name",
    "volumeMounts": "mountPath",
    "volumes": "name",
}
_WHOLE = frozenset({"matchLabels", "nodeSelector", "podSelector", "selector"})
_EXACT = frozenset({"egress", "ingress"})  # rules of a policy: a field more is another rule
_QUANTITIES = frozenset({"limits", "requests"})


def covers(observed: Any, wanted: Any, *, field: str = "", inside: str = "") -> bool:
    """Whether `observed` has everything that is `wanted`; `field` and `inside` say where we are."""
    if not wanted and observed is None:
        return True  # an empty value is as good as an absent one: the API server drops it
    match wanted:
        case _ if field in _EXACT:
            observed, wanted = _plain(observed), _plain(wanted)
        case Mapping():
            if not isinstance(observed, Mapping) or (field in _WHOLE and observed.keys() - wanted):
                return False
            return all(
                covers(observed.get(key), value, field=key, inside=field)
                for key, value in wanted.items()
            )
        case list() | tuple():
            return isinstance(observed, list | tuple) and _list_covers(observed, wanted, field)
    if inside in _QUANTITIES or field == "sizeLimit":
        return quantity.equal(observed, wanted)
    return bool(observed == wanted)


def _list_covers(observed: Sequence[Any], wanted: Sequence[Any], field: str) -> bool:
    key = _MERGED_BY.get(field)
    if key is not None and all(isinstance(item, Mapping) and key in item for item in wanted):
        there = {item.get(key): item for item in observed}
        return all(covers(there.get(item[key]), item) for item in wanted)
    return len(observed) == len(wanted) and all(map(covers, observed, wanted))


def _plain(rules: Any) -> Any:
    """Without what the API server drops: empty lists and nulls, an empty `matchLabels`."""
    match rules:
        case Mapping():
            slim = {key: _plain(value) for key, value in rules.items()}
            return {
                key: value
                for key, value in slim.items()
                if value not in (None, []) and not (key == "matchLabels" and value == {})
            }
        case list() | tuple():
            return [_plain(rule) for rule in rules]
    return rules
