"""The processes of one cluster: their ids and logs stand in the cluster's folder."""

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from ollamaserve_dev import tools

SECONDS_TO_END = 10


def start(folder: Path, program: str, arguments: Sequence[str]) -> None:
    """Start `program` apart from our terminal, so that it outlives us."""
    with (folder / f"{program}.log").open("wb") as log:
        process = subprocess.Popen(
            (tools.path(program), *arguments),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder,
            start_new_session=True,
        )
    born = started(process.pid)
    (folder / f"{program}.pid").write_text(f"{process.pid} {born}")
    process.returncode = 0  # it is meant to outlive us: no warning that it still runs


def stop(folder: Path) -> None:
    """End what was started from `folder`; raises SetupError naming one that doesn't end."""
    running = [*folder.glob("*.pid")]
    for path in running:
        if pid := _alive(path):
            os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + SECONDS_TO_END
    for path in running:
        while pid := _alive(path):
            _reap(pid)
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
        path.unlink()


def end_of_log(folder: Path, program: str, lines: int = 15) -> str:
    text = (folder / f"{program}.log").read_text(errors="replace")
    return "\n".join(text.splitlines()[-lines:])


def _alive(path: Path) -> int | None:
    """The process written there, if it is still the same one (ids are used again)."""
    pid, born = path.read_text().split()
    return int(pid) if started(int(pid)) == born else None


def _reap(pid: int) -> None:
    """A child of ours stays a zombie until it is waited for."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


def started(pid: int) -> str:
    """When a process started, in ticks since boot (proc(5), field 22); empty without it."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    fields = status.rsplit(")", 1)[1].split()
    return "" if fields[0] == "Z" else fields[19]
