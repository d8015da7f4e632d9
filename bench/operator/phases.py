"""The three measurements: a plain writer, the operator, and the operator's next start.

The first two begin on a fresh control plane each, with the same nodes, and what is being measured
is the same there: from the first resource's creation until every child of every resource is seen.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from bench.operator import objects
from bench.operator.api import Api, connected
from bench.operator.sightings import sightings
from bench.operator.usage import Usage, usage
from ollamaserve_dev import clusters
from ollamaserve_dev.kubectl import until
from ollamaserve_dev.localoperator import LocalOperator

WORKERS = 12  # as many as the operator has
LONGEST = 3600.0
QUIET = 15.0  # seconds without a write, longer than any unsettled look waits for the next

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Creation:
    """Seconds; `deployments` are those from a resource's creation to its Deployment's sight."""

    seconds: float
    objects: int
    deployments: tuple[float, ...]

    def quantile(self, share: float) -> float:
        """The nearest-rank quantile of `deployments`."""
        ranked = sorted(self.deployments)
        return ranked[min(len(ranked) - 1, int(share * len(ranked)))]


@dataclass(frozen=True, slots=True)
class Operated:
    """`settled`: seconds until the last write; calls are by verb and kind, up to then."""

    creation: Creation
    settled: float
    calls: dict[tuple[str, str], int]
    usage: Usage
    watched: int


@dataclass(frozen=True, slots=True)
class Restart:
    """Seconds from the start of the process until it listens, and until all was looked at."""

    listening: float
    settled: float
    writes: int
    calls: dict[tuple[str, str], int]
    usage: Usage
    watched: int


@asynccontextmanager
async def control_plane(name: str, resources: int) -> AsyncIterator[tuple[Path, Api]]:
    """A fresh one with room for two pods of each resource, and the benchmark's namespaces."""
    provider = clusters.provider("control-plane", name=name, nodes=2 + resources // 400)
    try:
        cluster = await asyncio.to_thread(provider.up)
        async with connected(cluster.kubeconfig) as api:
            for number in range(objects.NAMESPACES):
                await api.post("/api/v1/namespaces", objects.namespace(number))
            yield cluster.kubeconfig, api
    finally:
        await asyncio.to_thread(provider.down)


async def written(api: Api, resources: int) -> Creation:
    """A plain writer: each resource, then each of its children, by server-side apply."""
    made = [objects.children(_as_stored(objects.resource(n))) for n in range(resources)]

    async def write(number: int) -> None:
        body = await _create(api, number)
        for child in made[number]:
            for owner in child.body["metadata"]["ownerReferences"]:
                owner["uid"] = body["metadata"]["uid"]
            await api.apply(child.path, child.body)

    return await _created(api, resources, write)


async def operated(api: Api, operator: LocalOperator, resources: int) -> Operated:
    """The running operator; the benchmark only creates the resources, as many at a time."""
    begun = time.monotonic()

    async def write(number: int) -> None:
        await _create(api, number)

    creation = await _created(api, resources, write)
    quiet_since = await asyncio.to_thread(_rested, operator)
    return Operated(
        creation=creation,
        settled=quiet_since - begun,
        calls=_calls(operator),
        usage=_usage(operator),
        watched=int(operator.gauge("cached_objects")),
    )


def restarted(operator: LocalOperator, resources: int) -> Restart:
    """The next life of the operator, over what is all there."""
    operator.stop()
    begun = time.monotonic()
    operator.start(seconds=LONGEST)
    listening = time.monotonic() - begun

    def settled() -> bool:
        return operator.looks() >= resources and operator.gauge("queue_depth") == 0

    until("all was looked at", settled, seconds=LONGEST, every=0.1)
    took = time.monotonic() - begun
    _rested(operator)
    return Restart(
        listening=listening,
        settled=took,
        writes=int(operator.writes()),
        calls=_calls(operator),
        usage=_usage(operator),
        watched=int(operator.gauge("cached_objects")),
    )


async def _create(api: Api, number: int) -> objects.Body:
    write = objects.write(objects.resource(number))
    return await api.post(write.collection, write.body)


async def _created(api: Api, resources: int, write: Callable[[int], Awaitable[None]]) -> Creation:
    """Write all; wait until every child of each was seen."""
    applied: dict[tuple[str, str], float] = {}
    one = Counter(child.kind for child in objects.children(_as_stored(objects.resource(0))))
    wanted = {kind: count * resources for kind, count in one.items()}

    async def timed(number: int) -> None:
        body = objects.resource(number)["metadata"]
        applied[body["namespace"], body["name"]] = time.monotonic()
        await write(number)

    async with sightings(api) as seen:
        begun = time.monotonic()
        await _at_once(range(resources), timed)
        end = await seen.until(wanted, LONGEST)
    first = seen.at["Deployment"]
    waited = tuple(first[key] - at for key, at in applied.items())
    return Creation(end - begun, resources + sum(wanted.values()), waited)


def _as_stored(body: objects.Body) -> objects.Body:
    return body | {"metadata": body["metadata"] | {"uid": "0", "generation": 1}}


async def _at_once(items: Iterable[Item], work: Callable[[Item], Awaitable[None]]) -> None:
    """WORKERS at a time."""
    left = iter(items)

    async def worker() -> None:
        for item in left:
            await work(item)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(WORKERS):
            tasks.create_task(worker())


def _rested(operator: LocalOperator) -> float:
    """When the last write was, once there has been none for QUIET seconds."""
    last, since = operator.writes(), time.monotonic()

    def quiet() -> bool:
        nonlocal last, since
        if (now := operator.writes()) != last:
            last, since = now, time.monotonic()
        return time.monotonic() - since > QUIET

    until("the operator comes to rest", quiet, seconds=LONGEST)
    return since


def _calls(operator: LocalOperator) -> dict[tuple[str, str], int]:
    return dict(sorted({key: int(count) for key, count in operator.calls().items()}.items()))


def _usage(operator: LocalOperator) -> Usage:
    if operator.process is None:
        raise RuntimeError("the operator isn't running")
    return usage(operator.process.pid)
