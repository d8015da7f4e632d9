"""The sweep: what the watch missed is noticed, and a watch that shows nothing is found dead."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from ollamaserve_operator import kinds
from ollamaserve_operator.cache import Cache, Key
from ollamaserve_operator.cluster import Cluster
from ollamaserve_operator.pace import Pace
from ollamaserve_operator.sweep import Sweep
from unit.operator_runtime.fakeapi import FakeApi, resource

Run = Callable[[Coroutine[Any, Any, Any]], Any]


class Scene:
    def __init__(self) -> None:
        self.api, self.cache = FakeApi(), Cache()
        self.changed: list[Key] = []
        cluster = Cluster(self.api, pace=Pace(rate=1e6, burst=1000))
        self.sweep = Sweep(cluster, self.cache, "", self.changed.append)

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
    assert listed == {kind.plural for kind in kinds.WATCHED}


async def test_what_went_unseen_is_forgotten_and_its_resource_looked_at() -> None:
    """A relist tells nothing of deletions; the comparison does."""
    scene = Scene()
    scene.apply("llama")
    scene.apply("gone")
    await scene.sweep.fill()
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
        assert len(scene.api.calls) == 1 + len(kinds.WATCHED)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run(scenario())
