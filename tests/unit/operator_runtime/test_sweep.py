"""The sweep: what the watch missed is noticed, and a watch that shows nothing is found dead."""

import asyncio
import copy
from collections.abc import Callable, Coroutine
from typing import Any

from ollamaserve_operator import kinds, names
from ollamaserve_operator.cache import Cache, Key
from ollamaserve_operator.cluster import Cluster
from ollamaserve_operator.pace import Pace
from ollamaserve_operator.sweep import Sweep
from unit.operator_runtime.fakeapi import FakeApi, refusal, resource

Run = Callable[[Coroutine[Any, Any, Any]], Any]


class Scene:
    def __init__(self) -> None:
        self.api, self.cache = FakeApi(), Cache()
        self.changed: list[Key] = []
        cluster = Cluster(self.api, pace=Pace(rate=1e6, burst=1000))
        self.sweep = Sweep(cluster, self.cache, (), self.changed.append)

    def apply(self, name: str) -> dict[str, Any]:
        path = kinds.OLLAMA_SERVE.path("team-a", name)
        return self.api.put(path, resource(name))

    def delete(self, name: str) -> None:
        del self.api.objects[kinds.OLLAMA_SERVE.path("team-a", name)]


async def test_everything_is_listed_before_anything_is_decided() -> None:
    """Deterministic start: every watched kind, whole."""
    scene = Scene()
    scene.apply("llama")
    await scene.sweep.fill()

    assert scene.cache.resources() == [Key("team-a", "llama")]
    listed = {call.path.rsplit("/", 1)[1] for call in scene.api.calls}
    assert listed == {kind.plural for kind in (*kinds.WATCHED, *kinds.OPTIONAL)}


async def test_what_went_unseen_is_forgotten_and_its_resource_looked_at() -> None:
    """A relist tells nothing of deletions; the comparison does."""
    scene = Scene()
    scene.apply("llama")
    scene.apply("gone")
    await scene.sweep.fill()
    scene.changed.clear()
    scene.delete("gone")

    await scene.sweep.compare(kinds.OLLAMA_SERVE)

    assert scene.changed == [Key("team-a", "gone")]
    assert scene.cache.resources() == [Key("team-a", "llama")]


async def test_what_is_newer_than_the_list_is_not_forgotten() -> None:
    """Created while the list was under way: its version is beyond the list's."""
    scene = Scene()
    new = resource("new")
    new["metadata"] |= {"uid": "u", "resourceVersion": "999"}
    scene.cache.put(new)
    await scene.sweep.compare(kinds.OLLAMA_SERVE)
    assert scene.cache.resources() == [Key("team-a", "new")]


def test_a_watch_that_shows_nothing_for_a_minute_is_dead_until_it_does(run: Run) -> None:
    """/livez names the kind; a watch that catches up is alive again."""

    async def scenario() -> None:
        scene = Scene()
        made = scene.apply("llama")
        await scene.sweep.compare(kinds.OLLAMA_SERVE)
        assert scene.sweep.dead == {"OllamaServe"}

        scene.cache.put(made)
        await scene.sweep.compare(kinds.OLLAMA_SERVE)
        assert scene.sweep.dead == frozenset()

    run(scenario())


def test_a_watch_that_lags_a_little_is_alive(run: Run) -> None:
    """An event may come later than a list."""

    async def scenario() -> None:
        scene = Scene()
        made = scene.apply("llama")
        task = asyncio.create_task(scene.sweep.compare(kinds.OLLAMA_SERVE))
        await asyncio.sleep(30)
        scene.cache.put(made)
        await task
        assert scene.sweep.dead == frozenset()

    run(scenario())


def test_a_relist_is_compared_soon_and_everything_now_and_then(run: Run) -> None:
    """Seconds after a relist of a kind, and every ten minutes for all; errors stop nothing."""

    async def scenario() -> None:
        scene = Scene()
        scene.api.before = lambda _call: (503, {}, b"")
        task = asyncio.create_task(scene.sweep.run())
        await asyncio.sleep(1)
        scene.sweep.relisted("Service")
        await asyncio.sleep(10)
        assert [call.path for call in scene.api.calls] == ["/api/v1/services"]
        await asyncio.sleep(700)
        assert len(scene.api.calls) == 1 + len(kinds.WATCHED) + len(kinds.OPTIONAL)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run(scenario())


ROUTE = {
    "kind": "HTTPRoute",
    "apiVersion": "gateway.networking.k8s.io/v1",
    "metadata": {
        "name": "llama",
        "namespace": "team-a",
        "labels": {names.INSTANCE: "llama", "app.kubernetes.io/managed-by": names.FIELD_MANAGER},
    },
}


class Optional(Scene):
    """A cluster whose optional kinds come and go."""

    def __init__(self) -> None:
        super().__init__()
        self.there = False
        self.api.before = lambda call: (
            refusal(404, "", "the server could not find the requested resource")
            if "httproutes" in call.path and not self.there
            else None
        )

    async def look(self) -> None:
        self.changed.clear()
        await self.sweep.look(kinds.HTTP_ROUTE)


async def test_a_kind_that_comes_later_is_found_and_every_resource_looked_at() -> None:
    """Decision 13: its absence stops no start; ten minutes after its CRD it is known."""
    scene = Optional()
    scene.apply("llama")
    await scene.sweep.fill()
    assert scene.cache.offered == {"PodMonitor"}

    scene.there = True
    await scene.look()
    assert scene.cache.offered == {"PodMonitor", "HTTPRoute"}
    assert scene.changed == [Key("team-a", "llama")]


async def test_an_optional_kinds_drift_is_seen_at_the_next_look() -> None:
    """Decision 13: no watch; a changed, a deleted object is news then, an unchanged one isn't."""
    scene = Optional()
    scene.there = True
    path = kinds.HTTP_ROUTE.path("team-a", "llama")
    scene.apply("llama")
    await scene.sweep.fill()
    for act, news in (
        (lambda: scene.api.put(path, copy.deepcopy(ROUTE)), [Key("team-a", "llama")]),
        (lambda: None, []),
        (lambda: scene.api.put(path, copy.deepcopy(ROUTE)), [Key("team-a", "llama")]),
        (lambda: scene.api.objects.pop(path), [Key("team-a", "llama")]),
    ):
        act()
        await scene.look()
        assert scene.changed == news
    assert scene.cache.bodies(Key("team-a", "llama")) == []


async def test_a_kind_that_goes_takes_what_is_known_of_it_along() -> None:
    """A CRD that is deleted takes its objects along, and nothing is written to them any more."""
    scene = Optional()
    scene.there = True
    scene.apply("llama")
    scene.api.put(kinds.HTTP_ROUTE.path("team-a", "llama"), copy.deepcopy(ROUTE))
    await scene.sweep.fill()
    assert len(scene.cache.bodies(Key("team-a", "llama"))) == 1

    scene.there = False
    await scene.look()
    assert scene.cache.offered == {"PodMonitor"}
    assert scene.cache.bodies(Key("team-a", "llama")) == []


async def test_of_several_namespaces_each_is_listed_by_itself() -> None:
    """No right to list the others; what one list lacks is no word about another's objects."""
    scene = Scene()
    scene.apply("llama")
    cluster = Cluster(scene.api, pace=Pace(rate=1e6, burst=1000))
    sweep = Sweep(cluster, scene.cache, ("team-a", "team-b"), scene.changed.append)
    await sweep.fill()
    asked = {call.path for call in scene.api.calls}
    assert kinds.SECRET.path("team-a") in asked
    assert kinds.SECRET.path("team-b") in asked
    assert kinds.SECRET.path() not in asked

    await sweep.compare(kinds.OLLAMA_SERVE)
    assert scene.cache.resources() == [Key("team-a", "llama")]


def test_an_optional_kind_that_can_not_be_listed_yet_stops_no_start(run: Run) -> None:
    """A CRD that is being set up answers 429; it is asked for again within seconds."""

    async def scenario() -> None:
        scene = Scene()
        scene.apply("llama")
        scene.api.before = lambda call: (429, {}, b"") if "httproutes" in call.path else None
        await scene.sweep.fill()
        assert scene.cache.offered == {"PodMonitor"}

        scene.api.before = lambda _call: None
        task = asyncio.create_task(scene.sweep.run())
        await asyncio.sleep(10)
        assert scene.cache.offered == {"HTTPRoute", "PodMonitor"}
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run(scenario())
