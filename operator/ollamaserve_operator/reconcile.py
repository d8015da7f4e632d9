"""The one loop body: observe, parse, desired, plan, apply, status, requeue.

Level-triggered: it looks at everything that is there and does what is missing, so it doesn't matter
why it was called, or where an earlier call was killed. The queue calls it, one key at a time.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from ollamaserve_operator import api, kinds, manifests, names, observed, patches, plan, status
from ollamaserve_operator.api import Invalid, OllamaServe
from ollamaserve_operator.cache import Cache, Key, Ref
from ollamaserve_operator.cluster import Cluster
from ollamaserve_operator.errors import (
    NameConflict,
    PatchRefused,
    Refused,
    StepFailure,
    Transient,
)
from ollamaserve_operator.manifests import Images, Manifest
from ollamaserve_operator.observed import Observed
from ollamaserve_operator.reports import Reports
from ollamaserve_operator.steps import Steps, address

Body = dict[str, Any]

ROUNDS = 4
CONFLICT = 20.0  # seconds: no watch tells when an object that isn't ours goes away

logger = logging.getLogger(__name__)


class Reconciler:
    def __init__(
        self,
        *,
        cache: Cache,
        cluster: Cluster,
        reports: Reports,
        images: Images,
        home: str = names.HOME,
        again: Callable[[Key], None],
        timed: Callable[[str, float], None] = lambda *_: None,
        judged: Callable[[Key, Sequence[Body]], None] = lambda *_: None,
        crowded: Callable[[], bool] = lambda: False,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._cache = cache
        self._cluster = cluster
        self._steps = Steps(cluster, cache)
        self._refused: dict[Key, frozenset[tuple[str, str, type]]] = {}
        self._reports = reports
        self._images = images
        self._home = home
        self._again = again
        self._timed = timed
        self._judged = judged
        self._crowded = crowded
        self._clock = clock

    async def __call__(self, key: Key) -> float | None:
        """Seconds until the next look, None for a resource that is gone; raises Transient."""
        begun = asyncio.get_running_loop().time()
        outcome = "error"
        try:
            delay = await self._reconcile(key)
            outcome = "gone" if delay is None else "ok"
        except Transient:
            outcome = "failed"
            raise
        finally:
            self._timed(outcome, asyncio.get_running_loop().time() - begun)
        return delay

    async def _reconcile(self, key: Key) -> float | None:
        body = self._cache.resource(key)
        if body is None or body["metadata"].get("deletionTimestamp"):
            self._refused.pop(key, None)
            self._judged(key, ())
            return None
        serve = api.parse(body)
        failures: tuple[StepFailure, ...] = ()
        if isinstance(serve, OllamaServe):
            if self._crowded() and await self._begin(key, serve):
                return 0.0
            failures, wrote = await self._carry_out(key, serve)
            if wrote and not failures and self._crowded():
                return 0.0  # words when all have their children; there is more to tell by then
        delay = await self._tell(key, serve, failures, body.get("status") or {})
        for failure in failures:
            if isinstance(failure.error, Transient):
                raise failure.error
        conflict = any(isinstance(failure.error, NameConflict) for failure in failures)
        return min(delay, CONFLICT) if conflict else delay

    def _observe(self, key: Key) -> Observed:
        seen = observed.observe(
            self._cache.bodies(key),
            at=self._clock(),
            offered=self._cache.offered,
            settled=self._cache.settled(key),
        )
        reports = self._reports.of(seen.pods, lambda: self._again(key))
        return replace(seen, reports=reports)

    async def _begin(self, key: Key, serve: OllamaServe) -> bool:
        """In a crowd: make the Deployment of a new resource; the rest when others have theirs.

        Nodes and images are the slowest part, so they are asked for early. Nothing runs before its
        time: the pods wait for the ConfigMap, which is made after the NetworkPolicies.
        """
        seen = self._observe(key)
        wanted = () if seen.children else self._wanted(serve, seen)
        steps = () if isinstance(wanted, PatchRefused) else plan.plan(wanted, seen, serve)
        first = next((s for s in steps if address(key, s).kind == kinds.DEPLOYMENT.name), None)
        return first is not None and (await self._steps.take(key, first)).done

    def _wanted(self, serve: OllamaServe, seen: Observed) -> tuple[Manifest, ...] | PatchRefused:
        children = manifests.children(serve, self._images, seen, self._home)
        return patches.patched(serve, self._images, children)

    async def _carry_out(
        self, key: Key, serve: OllamaServe
    ) -> tuple[tuple[StepFailure, ...], bool]:
        """Every step, each on its own: one that fails stops no other; and whether any was taken.

        A step can make the next one possible (the Job waits for the claim's uid), and no event
        tells of our own writes: so plan again, until nothing is left that wasn't tried in vain.
        """
        vain: dict[Ref, StepFailure | None] = {}
        wrote = False
        for _ in range(ROUNDS):
            seen = self._observe(key)
            wanted = self._wanted(serve, seen)
            if isinstance(wanted, PatchRefused):
                refused = StepFailure(wanted.target, "", wanted)
                self._warn(key, (refused,))
                return (refused,), wrote
            steps = plan.plan(wanted, seen, serve)
            fresh = [step for step in steps if address(key, step) not in vain]
            if not fresh:
                break
            for step in fresh:
                outcome = await self._steps.take(key, step)
                wrote = wrote or outcome.done
                if not outcome.done:
                    vain[address(key, step)] = outcome.failure
        failures = tuple(failure for failure in vain.values() if failure is not None)
        self._warn(key, failures)
        return failures, wrote

    def _warn(self, key: Key, failures: Sequence[StepFailure]) -> None:
        """One line when something begins to be refused; what is tried again, the queue logs."""
        refused = {
            (failure.kind, failure.name, type(failure.error)): failure.error
            for failure in failures
            if not isinstance(failure.error, Transient)
        }
        for which in refused.keys() - self._refused.get(key, frozenset()):
            logger.warning("refused: %s", refused[which], extra={"key": "/".join(key)})
        self._refused[key] = frozenset(refused)
        if not refused:
            del self._refused[key]

    async def _tell(
        self,
        key: Key,
        serve: OllamaServe | Invalid,
        failures: Sequence[StepFailure],
        previous: Body,
    ) -> float:
        """One status write at the end, only if it says something new; events only after it."""
        seen = self._observe(key)
        current = status.status(serve, seen, failures, previous, self._images)
        self._judged(key, current["conditions"])
        if current != previous:
            written = await self._cluster.write_status(serve.identity, current)
            if written is not None:
                self._cache.put(written)
                if api.parse(written) != serve:
                    self._again(key)  # the watch will tell it too, but that is old news by then
                await self._announce(serve, previous, dict(current), seen.at)
        return status.requeue(serve, current)

    async def _announce(
        self, serve: OllamaServe | Invalid, previous: Body, current: Body, at: datetime
    ) -> None:
        for event in status.flips(previous, current):
            key = f"{serve.identity.namespace}/{serve.identity.name}"
            logger.info("%s: %s", event.reason, event.message, extra={"key": key})
            try:
                await self._cluster.post_event(serve.identity, event, at)
            except (Transient, Refused) as error:
                logger.warning("event not posted: %s", error, extra={"key": key})
