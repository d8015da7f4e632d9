"""The cache: by resource, by version, and without a secret."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollamaserve_operator import names
from ollamaserve_operator.cache import Cache, Key, Ref
from unit.operator_runtime.fakeapi import resource

LLAMA = Key("team-a", "llama")


def body(kind: str, name: str, version: int, **metadata: Any) -> dict[str, Any]:
    labels = names.labels("llama", names.Component.SERVER)
    about = {
        "name": name,
        "namespace": "team-a",
        "uid": "u1",
        "resourceVersion": str(version),
        "labels": labels,
    }
    return {"apiVersion": "v1", "kind": kind, "metadata": about | metadata}


def serve(version: int, **more: Any) -> dict[str, Any]:
    found = resource(**more)
    found["metadata"] |= {"uid": "u0", "resourceVersion": str(version)}
    return found


def test_bodies_come_back_by_resource() -> None:
    """Children and pods, not the resource itself, not the neighbour's."""
    cache = Cache()
    cache.put(serve(1))
    cache.put(body("Service", "llama", 2))
    cache.put(body("Pod", "llama-x", 3))
    cache.put(body("Service", "other", 4, labels={names.INSTANCE: "other"}))

    assert [b["kind"] for b in cache.bodies(LLAMA)] == ["Pod", "Service"]
    assert cache.resource(LLAMA) == serve(1)
    assert cache.resources() == [LLAMA]
    assert len(cache) == 4


def test_a_controller_says_more_than_a_label() -> None:
    """A child whose instance label was changed by hand is still its owner's."""
    owner = {"controller": True, "kind": names.KIND, "name": "llama"}
    cache = Cache()
    moved = body("Service", "llama", 1, labels={names.INSTANCE: "x"}, ownerReferences=[owner])
    assert cache.put(moved) == LLAMA
    assert cache.put(body("Service", "stray", 2, labels={})) is None


@pytest.mark.parametrize("version", [5, 4])
def test_old_news_changes_nothing_and_wakes_nobody(version: int) -> None:
    """Our own write's answer comes before its event; the event is then old news."""
    cache = Cache()
    assert cache.put(body("Service", "llama", 5)) == LLAMA
    assert cache.put(body("Service", "llama", version, uid="u2")) is None


def test_a_deletion_takes_only_what_it_deletes() -> None:
    """Deleted and created again: the late DELETED of the old one must not hide the new one."""
    cache = Cache()
    cache.put(body("Service", "llama", 9, uid="new"))
    assert cache.drop(body("Service", "llama", 7, uid="old")) is None
    assert cache.drop(body("Service", "llama", 10, uid="new")) == LLAMA
    assert cache.drop(body("Service", "llama", 10, uid="new")) is None
    assert cache.bodies(LLAMA) == []


def test_a_live_read_that_a_deletion_has_overtaken_revives_nothing() -> None:
    """A GET before the DELETED event, put after it: the object stays gone, and may come newer."""
    cache = Cache()
    cache.put(body("Job", "llama-pull", 5))
    cache.drop(body("Job", "llama-pull", 6))

    assert cache.put(body("Job", "llama-pull", 5)) is None
    assert cache.bodies(LLAMA) == []
    assert cache.put(body("Job", "llama-pull", 7)) == LLAMA


def test_secrets_and_managed_fields_are_not_kept() -> None:
    """No token's value is held; key names are."""
    cache = Cache()
    secret = body("Secret", "llama-auth", 1, managedFields=[{"manager": "x"}])
    cache.put(secret | {"data": {"AUTH_TOKEN": "c2VjcmV0"}})
    (kept,) = cache.bodies(LLAMA)
    assert list(kept["data"]) == ["AUTH_TOKEN"]
    assert "c2VjcmV0" not in json.dumps(kept)
    assert "managedFields" not in kept["metadata"]


def test_what_moves_to_another_resource_leaves_the_first() -> None:
    """A relabelled pod belongs to one resource at a time."""
    cache = Cache()
    cache.put(body("Pod", "p", 1))
    cache.put(body("Pod", "p", 2, labels={names.INSTANCE: "other"}))
    assert cache.bodies(LLAMA) == []
    assert [b["metadata"]["name"] for b in cache.bodies(Key("team-a", "other"))] == ["p"]


def test_what_becomes_nobodys_leaves_its_resource() -> None:
    """Replaced by a user's object of the same name: a live read shows neither owner nor label."""
    cache = Cache()
    cache.put(body("Service", "llama", 1))
    theirs = body("Service", "llama", 2, labels={}, uid="u2")

    assert cache.put(theirs) == LLAMA
    assert len(cache) == 0
    assert cache.put(theirs) is None


def test_what_a_live_read_does_not_find_is_removed() -> None:
    """`remove` says whose it was."""
    cache = Cache()
    cache.put(body("Pod", "p", 1))
    assert cache.version(Ref("Pod", "team-a", "p")) == 1
    assert cache.remove(Ref("Pod", "team-a", "p")) == LLAMA
    assert cache.remove(Ref("Pod", "team-a", "p")) is None
    assert cache.version(Ref("Pod", "team-a", "p")) == 0


@given(st.permutations(range(1, 8)))
def test_the_newest_body_wins_in_any_order_of_arrival(versions: list[int]) -> None:
    """Watch events, list items and answers may overtake each other."""
    cache = Cache()
    for version in versions:
        cache.put(body("Service", "llama", version, generation=version))
    (kept,) = cache.bodies(LLAMA)
    assert kept["metadata"]["generation"] == 7


def test_what_we_wrote_is_settled_until_somebody_else_writes() -> None:
    """By version: the watch may have told it before the answer came, or after."""
    cache = Cache()
    cache.made(body("Service", "llama", 2))
    assert cache.settled(LLAMA) == {"u1"}
    cache.put(body("Service", "llama", 2))
    assert cache.settled(LLAMA) == {"u1"}
    cache.put(body("Service", "llama", 3))
    assert cache.settled(LLAMA) == frozenset()
    cache.made(body("Service", "llama", 3))
    assert cache.settled(LLAMA) == {"u1"}
    cache.made(body("Service", "llama", 2))
    assert cache.settled(LLAMA) == {"u1"}
    cache.drop(body("Service", "llama", 4))
    assert cache.settled(LLAMA) == frozenset()


def test_an_answer_that_the_watch_has_overtaken_settles_nothing() -> None:
    """Somebody wrote between our apply and its answer."""
    cache = Cache()
    cache.put(body("Service", "llama", 3))
    cache.made(body("Service", "llama", 2))
    assert cache.settled(LLAMA) == frozenset()
