"""The `serve` command: the gate, the port that speaks for it, and the loops behind both.

Puts the parts together and takes them down again; what each does is in its own room.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from functools import partial
from typing import TYPE_CHECKING, Any

from ollamaserve_sidecar import config, reload
from ollamaserve_sidecar.accesslog import AccessLog
from ollamaserve_sidecar.gate import Gate
from ollamaserve_sidecar.health import Port
from ollamaserve_sidecar.ledger import Ledger
from ollamaserve_sidecar.lifecycle import Drain
from ollamaserve_sidecar.metrics import Facts, Metrics
from ollamaserve_sidecar.models import canonical
from ollamaserve_sidecar.observer import Observer
from ollamaserve_sidecar.ollama import Ollama
from ollamaserve_sidecar.pull import Puller
from ollamaserve_sidecar.readiness import to_load
from ollamaserve_sidecar.status import Door, Reason, Status, Verdict

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from ollamaserve_sidecar.config import Config
    from ollamaserve_sidecar.errors import Problem

STDOUT = 1
OTHER = "other"
"""The label of models that this server doesn't have."""
_log = logging.getLogger(__name__)


class Serving:
    """A serving process, as its status port sees it."""

    def __init__(self, parsed: Config, live: reload.Live, ollama: Ollama) -> None:
        self._parsed, self._live = parsed, live
        self._gate: Gate | None = None
        self.drain = Drain(parsed.drain_timeout)
        self.puller = Puller(ollama)
        self.observer = Observer(ollama, parsed.upstream, lambda: live.config, self.puller.pulls)
        self.log = AccessLog(STDOUT) if parsed.access_log else None
        self.ledger = Ledger(self._label, self.log)
        self.metrics = Metrics(self._facts, self.ledger.tally)
        live.on_change += [self.observer.wake, self.puller.wake]

    def gate(self, closed: Callable[[str], Problem | None] = lambda _: None) -> Gate:
        """The door, which the status port then speaks for too; ConfigError as from `Gate`."""
        self._gate = Gate(self._parsed, self._live, self.drain, self.ledger, closed)
        return self._gate

    async def follow(self) -> None:
        """Every loop that runs beside the door, until cancelled."""
        async with asyncio.TaskGroup() as loops:
            loops.create_task(reload.follow(self._live))
            loops.create_task(self.observer.run())
            loops.create_task(self.puller.follow(lambda: self._live.config))

    def verdict(self) -> Verdict:
        if self.drain.draining:
            return Verdict(Reason.DRAINING, "finishing what is in flight before the end")
        return self.observer.verdict

    def document(self) -> dict[str, Any]:
        return self._status().document()

    def exposition(self) -> bytes:
        return self.metrics.exposition()

    async def drained(self) -> bool:
        return await self.drain.hook()

    def _facts(self) -> Facts:
        live = self._live
        dropped = self.log.dropped if self.log else 0
        return Facts(self._status(), self.puller.outcomes, live.reloads, live.failures, dropped)

    def _label(self, model: str) -> str:
        """The configuration's name of a model, or Ollama's: whoever asks adds no other."""
        key = canonical(model)
        for expected in self._live.config.models:
            if canonical(expected.name) == key:
                return expected.name
        found = (self.observer.memory.sight.installed or {}).get(key)
        return found.name if found else OTHER

    async def close(self) -> None:
        """Write what the access log has gathered."""
        if self.log:
            await self.log.close()

    def _status(self) -> Status:
        memory, wanted = self.observer.memory, self._live.config
        unloaded = to_load(memory, wanted, self.puller.pulls)
        return Status(
            mode="serve",
            verdict=self.verdict(),
            sight=memory.sight,
            models=wanted.models,
            pulls=self.puller.pulls,
            errors=memory.errors,
            loading=frozenset(canonical(model.name) for model in unloaded),
            device=self.observer.device,
            draining=self.drain.draining,
            in_flight=self.drain.in_flight,
            tokens=self._live.status,
            door=self._gate.door() if self._gate else Door(),
        )


async def command(environ: Mapping[str, str]) -> int:
    """Serve until a signal; the exit status. ConfigError where the environment is wrong."""
    parsed = config.load(environ)
    live = reload.Live(parsed)
    async with Ollama(f"http://{parsed.upstream.authority}") as ollama:
        serving = Serving(parsed, live, ollama)
        gate = serving.gate()
        port = Port(serving, parsed.status_listen)
        stop = signals()
        await bind("GATE_LISTEN", gate.start())
        await bind("GATE_STATUS_LISTEN", port.start())
        loops = asyncio.create_task(serving.follow())
        try:
            return await until_stopped(stop, loops, partial(_leave, serving.drain, gate))
        finally:
            loops.cancel()
            await gate.close()
            await serving.close()
            await port.close()


async def bind(name: str, start: Awaitable[None]) -> None:
    try:
        await start
    except OSError as error:
        raise config.ConfigError(f"{name} can't be listened on: {error}") from None


def signals() -> asyncio.Queue[int]:
    """SIGTERM and SIGINT as they come."""
    loop, came = asyncio.get_running_loop(), asyncio.Queue[int]()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, came.put_nowait, number)
    return came


async def until_stopped(
    stop: asyncio.Queue[int], loops: asyncio.Task[None], leave: Callable[[], Awaitable[None]]
) -> int:
    """The exit status: 0 once `leave` has ended, 128 and the number of a second signal before.

    A loop that breaks is a defect, and ends the process with its error.
    """
    first = asyncio.create_task(stop.get())
    await asyncio.wait((first, loops), return_when=asyncio.FIRST_COMPLETED)
    if loops.done():
        loops.result()
    second = asyncio.create_task(stop.get())
    leaving = asyncio.ensure_future(leave())
    await asyncio.wait((second, leaving), return_when=asyncio.FIRST_COMPLETED)
    if second.done():
        return 128 + second.result()
    leaving.result()
    return 0


async def _leave(drain: Drain, gate: Gate) -> None:
    await finish(drain, gate)
    await drain.farewell()


async def finish(drain: Drain, gate: Gate) -> None:
    """Let what is in flight end, in the drain's time."""
    _log.info("draining: %d in flight", drain.in_flight)
    if not await drain.run(gate.stop_listening):
        _log.warning("the drain's time is over: %d cut", drain.in_flight)
