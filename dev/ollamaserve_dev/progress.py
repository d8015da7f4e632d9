"""What a person sees while something is made: each step with its progress and its time.

On a terminal the running step has a spinner with the last line of output; elsewhere (CI) a line
now and then. The whole output goes to a log file, and its end is shown when the step fails.
"""

import subprocess
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from ollamaserve_dev import cache

console = Console(highlight=False, soft_wrap=True)
SECONDS_BETWEEN_LINES = 20


class SetupError(RuntimeError):
    """Something on this machine is in the way; the message says what failed and what to do."""


@contextmanager
def step(title: str) -> Iterator[None]:
    """Print `title`, and its time when the block ends."""
    started, title = time.monotonic(), escape(title)
    console.print(f"[bold]==>[/] {title}")
    try:
        yield
    except BaseException:
        console.print(f"    [red]failed[/] after {time.monotonic() - started:.1f} s: {title}")
        raise
    console.print(f"    {time.monotonic() - started:.1f} s: {title}")


def run(
    words: Sequence[str | Path],
    *,
    log: str,
    remedy: str = "",
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    lines: int = 0,
) -> int:
    """Run a command, its output in `<cache>/logs/<log>.log`; gives the number of lines.

    `lines` is about how many lines of output to expect, shown as a percentage. Raises SetupError
    with the end of the log and `remedy`.
    """
    path = cache.root() / "logs" / f"{log}.log"
    path.parent.mkdir(exist_ok=True)
    tail: deque[str] = deque(maxlen=15)
    count = 0
    with (
        path.open("w") as file,
        subprocess.Popen(
            [str(w) for w in words],
            env=env,
            cwd=cwd,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        for count, line in enumerate(_shown(process.stdout or (), lines), start=1):  # noqa: B007
            file.write(line)
            tail.append(line)
    if process.returncode:
        raise SetupError(
            f"{Path(words[0]).name} failed ({process.returncode}); the end of {path}:\n"
            + "".join(f"  | {line}" for line in tail)
            + remedy
        )
    return count


def _shown(output: Iterator[str] | tuple[()], expected: int) -> Iterator[str]:
    last = time.monotonic()
    with console.status("…") as status:
        for count, line in enumerate(output, start=1):
            yield line
            share = f"{min(99, 100 * count // expected)} % " if expected else ""
            status.update(escape(f"{share}{line.strip()[:100]}"))
            if not console.is_terminal and time.monotonic() - last > SECONDS_BETWEEN_LINES:
                last = time.monotonic()
                console.print(f"    … {share}{line.strip()[:100]}", markup=False)
