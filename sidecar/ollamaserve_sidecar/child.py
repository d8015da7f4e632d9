"""The Ollama that standalone mode runs: started on loopback, watched, and stopped with its runners.

It gets a session of its own, so that Ctrl-C in a terminal reaches this process alone, which drains
first. As process 1 of a container this process also inherits orphans (of `docker exec`, say), and
`reap` collects them: so the image needs no init, and `docker run` no `--init`.
"""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import DEVNULL
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn, Self

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Mapping

PATIENCE = 10.0
"""Seconds that Ollama gets to end after SIGTERM; it then is killed."""
ROUND = 5.0
"""Seconds between two looks for orphans. libuv has the SIGCHLD handler, so they aren't told of."""
FIRST = 1
"""The process id of whoever inherits orphans."""


class EndedError(Exception):
    """The child ended by itself; the text says how."""


class Child:
    """A running `ollama serve`."""

    def __init__(self, process: Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, program: str, environ: Mapping[str, str]) -> Self:
        """Start it; OSError where it can't be run.

        Its log goes to our standard error. Its standard output has nothing but a line for every
        request, those of our own looks every few seconds included, and is dropped.
        """
        process = await asyncio.create_subprocess_exec(
            *(program, "serve"),
            env=environ,
            stdin=DEVNULL,
            stdout=DEVNULL,
            start_new_session=True,
        )
        return cls(process)

    async def watch(self) -> NoReturn:
        """Raise EndedError when it has ended."""
        raise EndedError(f"Ollama {_words(await self._process.wait())}")

    async def stop(self, patience: float = PATIENCE) -> None:
        """Ask it to end; after `patience` seconds it is killed, with whatever it started."""
        with suppress(ProcessLookupError):
            self._process.terminate()
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self._process.wait()
        await self.kill()

    async def kill(self) -> None:
        """End it and its runners at once; nothing happens where all have ended."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()

    async def reap(self) -> None:
        """Collect orphans for as long as this is process 1; the child itself stays for `watch`."""
        while os.getpid() == FIRST:
            await asyncio.sleep(ROUND)
            _collect(self._process.pid)


def _collect(kept: int) -> None:
    options = os.WEXITED | os.WNOHANG | os.WNOWAIT
    with suppress(ChildProcessError):
        while (ended := os.waitid(os.P_ALL, 0, options)) and ended.si_pid != kept:
            os.waitpid(ended.si_pid, 0)


def _words(status: int) -> str:
    if status >= 0:
        return f"ended with exit status {status}"
    return f"was ended by signal {-status} ({signal.Signals(-status).name})"
