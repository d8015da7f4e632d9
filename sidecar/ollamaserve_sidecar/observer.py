"""Watching one Ollama for `readiness`: it looks, it loads the warm models, it notices restarts.

Three loops around one `Memory`. Polling can't see a restart that happens between two looks, so one
connection is held open and idle: Go's server has no idle timeout in Ollama, and the end of that
connection is the end of that Ollama.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from ollamaserve_sidecar import readiness
from ollamaserve_sidecar.models import canonical
from ollamaserve_sidecar.ollama import OllamaRefusedError, OllamaUnreachableError
from ollamaserve_sidecar.readiness import Memory
from ollamaserve_sidecar.status import Device, Reason, Sight, Verdict, device
from ollamaserve_sidecar.waiting import signalled

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ollamaserve_sidecar.config import GateConfig, Upstream
    from ollamaserve_sidecar.ollama import Installed, Ollama, Running
    from ollamaserve_sidecar.pull import Pull

FAST, SLOW = 1.0, 5.0
"""Seconds between two looks: until ready, and then."""
_LOAD_DELAYS = (1.0, 2.0, 5.0, 15.0, 60.0)
_LAST = len(_LOAD_DELAYS) - 1
_log = logging.getLogger(__name__)


class Observer:
    """What is known of the Ollama at `upstream`, for as long as `run` runs."""

    def __init__(
        self,
        ollama: Ollama,
        upstream: Upstream,
        config: Callable[[], GateConfig],
        pulls: Mapping[str, Pull],
    ) -> None:
        self._ollama, self._upstream = ollama, upstream
        self._config, self._pulls = config, pulls
        self._wake, self._retry = asyncio.Event(), asyncio.Event()
        self._known: dict[str, str] = {}
        self._looking = asyncio.Lock()
        self._told: Reason | None = None
        self.memory = Memory()

    @property
    def verdict(self) -> Verdict:
        return readiness.judge(self.memory, self._config(), self._pulls)

    @property
    def device(self) -> Device:
        """Where the models went that were seen in memory during this run of Ollama."""
        return device(self.memory.placed.values())

    def wake(self) -> None:
        """Look, and try failed loads again, now: something has changed."""
        self._wake.set()
        self._retry.set()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as loops:
            loops.create_task(self._look())
            loops.create_task(self._load())
            loops.create_task(self._hold())

    async def _look(self) -> None:
        while True:
            run, sight = self.memory.run, await self._sight()
            if run == self.memory.run:
                self._remember(readiness.seen(self.memory, sight))
            await signalled(self._wake, SLOW if self.memory.latched else FAST)

    async def _sight(self) -> Sight:
        try:
            return await self._survey()
        except (OllamaUnreachableError, OllamaRefusedError):
            return Sight()

    async def _survey(self) -> Sight:
        """One at a time: an older sight must not take the place of a newer one."""
        async with self._looking:
            return await self._surveyed()

    async def _surveyed(self) -> Sight:
        installed = await self._ollama.installed()
        running = await self._ollama.running()
        return Sight(
            reachable=True,
            version=self.memory.sight.version or await self._ollama.version(),
            installed=installed,
            running=await self._shared(installed, running),
            vram=sum(load.vram for load in running.values()),
        )

    async def _shared(
        self, installed: Mapping[str, Installed], running: Mapping[str, Running]
    ) -> Mapping[str, Running]:
        """`running`, with the expected models that run under another one's name."""
        names = {canonical(model.name) for model in self._config().models}
        hidden = names & installed.keys() - running.keys()
        if not hidden or not running:
            return running
        runners = {
            await self._weights(installed[name]): load
            for name, load in running.items()
            if name in installed
        }
        found = {name: runners.get(await self._weights(installed[name])) for name in hidden}
        return {**running, **{name: load for name, load in found.items() if load}}

    async def _weights(self, model: Installed) -> str:
        """What `model` runs from, asked once for each digest; its own digest where unknown."""
        if model.digest not in self._known:
            answer = await self._ollama.weights(model.name)
            self._known[model.digest] = answer or model.digest
        return self._known[model.digest]

    async def _load(self) -> None:
        """Load the warm models one after the other, backing off from one that fails."""
        failures = 0
        while True:
            missing = readiness.to_load(self.memory, self._config(), self._pulls)
            failed = [model for model in missing if not await self._loads(model.name)]
            failures = failures + 1 if failed else 0
            await signalled(self._retry, _LOAD_DELAYS[min(failures, _LAST)])

    async def _loads(self, name: str) -> bool:
        run = self.memory.run
        try:
            await self._ollama.load(name)
            sight = await self._survey()
        except (OllamaUnreachableError, OllamaRefusedError) as error:
            _log.warning("loading %s: %s", name, error)
            self._remember(readiness.failed(self.memory, run, name, str(error)))
            return False
        place = (sight.running or {}).get(canonical(name))
        memory = readiness.seen(self.memory, sight) if run == self.memory.run else self.memory
        self._remember(readiness.loaded(memory, run, name, place))
        self._wake.set()
        return True

    async def _hold(self) -> None:
        while True:
            try:
                reader, writer = await asyncio.open_connection(
                    self._upstream.host, self._upstream.port
                )
            except OSError:
                await asyncio.sleep(FAST)
                continue
            self._remember(readiness.connected(self.memory))
            await _end(reader)
            writer.close()
            _log.warning("Ollama closed its connections: it has stopped or is restarting")
            self._remember(readiness.ended(self.memory))
            self.wake()

    def _remember(self, memory: Memory) -> None:
        self.memory = readiness.latch(memory, self._config(), self._pulls)
        self._tell(self.verdict)

    def _tell(self, verdict: Verdict) -> None:
        """Log why the pod is ready, or isn't; once for each reason, with a warning for a loss."""
        before, self._told = self._told, verdict.reason
        if verdict.reason is before:
            return
        lost = before is Reason.READY
        words = "ready" if verdict.ready else "not ready any more" if lost else "not ready yet"
        level = logging.WARNING if lost else logging.INFO
        _log.log(level, "%s: %s: %s", words, verdict.reason, verdict.message)


async def _end(reader: asyncio.StreamReader) -> None:
    """Wait for the end of a connection on which nobody speaks."""
    try:
        while await reader.read(1024):
            pass
    except OSError:
        return
