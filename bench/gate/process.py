"""A program under the bench: pinned to one core, with its processor time and memory told by Linux.

Everything that is started here is stopped here, by its process id.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

CORES = sorted(os.sched_getaffinity(0))[:2]
LOAD_CORE, PROXY_CORE = CORES[0], CORES[-1]
PATIENCE = 30.0


class BenchError(RuntimeError):
    """The bench can't go on; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Process:
    pid: int

    def cpu(self) -> float:
        """Seconds on a processor so far, of all its threads, those that ended too, and children.

        From the process's own clock, in nanoseconds: /proc/PID/stat counts ticks of 10 ms, and
        schedstat forgets a thread that has ended, which a peer with a pool of them may have often.
        """
        return sum(_seconds(pid) for pid in self._family())

    def rss(self) -> float:
        """MiB of resident memory, children included."""
        return sum(_resident(pid) for pid in self._family()) / 1024

    def rest(self) -> None:
        """Stop it, so that it takes no time from others, until it's woken."""
        os.kill(self.pid, signal.SIGSTOP)

    def wake(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def _family(self) -> list[int]:
        found = [self.pid]
        for pid in found:
            with suppress(FileNotFoundError):
                children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
                found += map(int, children.split())
        return found


def _seconds(pid: int) -> float:
    with suppress(OSError):  # it has ended
        return time.clock_gettime(~pid << 3 | 2)  # clock_getcpuclockid(3), as Linux numbers them
    return 0.0


def _resident(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.split("\n") if line.startswith("VmRSS"))


def pinned(core: int, command: Sequence[str | Path]) -> list[str]:
    return ["taskset", "--cpu-list", str(core), *map(str, command)]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@contextmanager
def running(
    command: Sequence[str | Path], port: int, environ: Mapping[str, str], log: Path
) -> Iterator[Process]:
    """The command on the proxy's core for the time of the block, entered when it listens."""
    with log.open("wb") as output:
        child = subprocess.Popen(
            pinned(PROXY_CORE, command),
            env=os.environ | environ,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            await_port(port, child, log)
            yield Process(child.pid)
        finally:
            child.send_signal(signal.SIGTERM)
            try:
                child.wait(1)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def await_port(port: int, child: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        if child.poll() is not None:
            break
        time.sleep(0.002)
    raise BenchError(f"{child.args!r} doesn't listen; the end of its log: {_tail(log)}")


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-2000:]
