"""`python -m ollamaserve_operator`: read the configuration, build the parts, run kopf.

Exit status 2 and one line: the configuration is wrong; 1 and one line: the cluster isn't ready.
"""

import asyncio
import logging
import os
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass

import aiohttp
import kopf
import uvloop

from ollamaserve_operator import config, connection, handlers, health, tuning
from ollamaserve_operator.cache import Cache, Key
from ollamaserve_operator.cluster import Cluster
from ollamaserve_operator.config import Config, ConfigError
from ollamaserve_operator.connection import Connection
from ollamaserve_operator.errors import Refused, Transient
from ollamaserve_operator.manifests import Images
from ollamaserve_operator.metrics import Metrics
from ollamaserve_operator.pace import Pace
from ollamaserve_operator.queue import Queue
from ollamaserve_operator.reconcile import Reconciler
from ollamaserve_operator.reports import Reports
from ollamaserve_operator.sweep import Sweep

logger = logging.getLogger(__name__)

WRITES_PER_SECOND = 100.0  # more than an API server on two cores takes from anyone (67 measured)
WRITES_AT_ONCE = 200
# Calls. The API server takes objects that are nested 10,000 deep (sigs.k8s.io/json), and nobody's
# object may end the watch of all others: what is read, some rooms walk with two calls a level.
DEEPEST = 40_000


@dataclass(frozen=True, slots=True)
class Parts:
    connection: Connection
    cache: Cache
    queue: Queue[Key]
    sweep: Sweep
    reconciler: Reconciler
    metrics: Metrics


def build(chosen: Config, found: Connection, polls: aiohttp.ClientSession) -> Parts:
    """Everything that an operator consists of, wired, at rest."""
    metrics, cache, queue = Metrics(), Cache(), Queue[Key]()
    pace = Pace(rate=WRITES_PER_SECOND, burst=WRITES_AT_ONCE)
    cluster = Cluster(found, pace=pace, observe=metrics.called)
    reconciler = Reconciler(
        cache=cache,
        cluster=cluster,
        reports=Reports(polls, count=metrics.polled),
        images=Images(chosen.gate_image, chosen.ollama_image, chosen.ollama_rocm_image),
        home=chosen.home,
        again=queue.add,
        timed=metrics.reconciled,
        judged=metrics.judged,
        crowded=queue.crowded,
    )
    sweep = Sweep(cluster, cache, chosen.watch_namespaces, queue.add)
    metrics.follow("queue_depth", "Resources that wait for a worker", queue.depth)
    metrics.follow("queue_oldest_seconds", "How long the oldest of them waits", queue.oldest)
    metrics.follow("longest_turn_seconds", "How long the longest look lasts now", queue.longest)
    metrics.follow("cached_objects", "Objects held in the cache", lambda: len(cache))
    return Parts(found, cache, queue, sweep, reconciler, metrics)


async def operate(chosen: Config) -> None:
    """Run until a signal; raises Transient, Refused or kopf.LoginError where the start fails."""
    async with AsyncExitStack() as stack:
        found = Connection(lambda: connection.login(chosen.api_server))
        await stack.enter_async_context(found)
        polls = await stack.enter_async_context(aiohttp.ClientSession())
        parts = build(chosen, found, polls)
        await parts.sweep.fill()
        for key in parts.cache.resources():
            parts.queue.add(key)
        logger.info("watching %s", ", ".join(chosen.watch_namespaces) or "every namespace")
        await stack.enter_async_context(_served(chosen, parts))
        await _run(chosen, parts)


async def _run(chosen: Config, parts: Parts) -> None:
    """kopf, the queue and the sweep live and die together."""
    registry = handlers.registry(
        cache=parts.cache, queue=parts.queue, sweep=parts.sweep, connection=parts.connection
    )
    async with asyncio.TaskGroup() as tasks:
        queue = tasks.create_task(parts.queue.run(parts.reconciler))
        sweep = tasks.create_task(parts.sweep.run())
        await kopf.operator(
            registry=registry,
            settings=tuning.settings(),
            clusterwide=not chosen.watch_namespaces,
            namespaces=chosen.watch_namespaces,
        )
        queue.cancel()
        sweep.cancel()


def _served(chosen: Config, parts: Parts) -> health.Server:
    def trouble() -> str:
        queue = parts.queue
        return health.trouble(
            overdue=queue.oldest(),
            idle=queue.idle(),
            longest=queue.longest(),
            dead=parts.sweep.dead,
        )

    registry = parts.metrics.registry
    return health.serve(chosen.listen_host, chosen.listen_port, registry=registry, trouble=trouble)


def main() -> int:
    tuning.logs()
    sys.setrecursionlimit(DEEPEST)
    try:
        uvloop.run(operate(config.read(os.environ)))
    except (ConfigError, kopf.LoginError) as error:
        return _say(error, 2)
    except Refused as error:
        return _say(_remedy(error), 1)
    except Transient as error:
        return _say(f"the API server isn't ready: {error}", 1)
    return 0


def _remedy(error: Refused) -> str:
    if "not find" in error.message:
        return f"the cluster has no {error.kind}: apply deploy/install.yaml first"
    return str(error)


def _say(words: object, code: int) -> int:
    sys.stderr.write(f"{words}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
