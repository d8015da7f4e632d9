"""The operator's own port, the pace of its writes, and its settings."""

import asyncio
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import aiohttp

from ollamaserve_operator import health, kinds, names, tuning
from ollamaserve_operator.metrics import Metrics
from ollamaserve_operator.pace import Pace

Run = Callable[[Coroutine[Any, Any, Any]], Any]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


async def test_livez_says_what_is_wrong_and_metrics_what_was_done() -> None:
    """200 and 500, with a sentence; counters have bounded labels."""
    metrics, words, port = Metrics(), "", free_port()
    metrics.called("patch", "Service", 200)
    metrics.reconciled("ok", 0.01)
    metrics.follow("queue_depth", "x", lambda: 3)
    url = f"http://127.0.0.1:{port}"
    server = health.serve("127.0.0.1", port, registry=metrics.registry, trouble=lambda: words)
    async with server, aiohttp.ClientSession() as session:
        async with session.get(f"{url}/livez") as response:
            assert (response.status, await response.text()) == (200, "ok")
        words = "stuck"
        async with session.get(f"{url}/livez") as response:
            assert (response.status, await response.text()) == (500, "stuck")
        async with session.get(f"{url}/metrics") as response:
            text = await response.text()
    expected = 'ollamaserve_operator_api_calls_total{code="200",kind="Service",verb="patch"} 1.0'
    assert expected in text
    assert "ollamaserve_operator_queue_depth 3.0" in text
    assert "process_resident_memory_bytes" in text


def trouble(overdue: float = 0, idle: float = 0, longest: float = 0, *dead: str) -> str:
    return health.trouble(overdue=overdue, idle=idle, longest=longest, dead=frozenset(dead))


def test_trouble_is_what_a_restart_helps_against() -> None:
    """A stuck queue, an endless turn, a dead watch; not a queue that is long, nor an idle one."""
    assert trouble(overdue=1000, idle=10) == ""
    assert trouble(idle=1000) == ""
    assert trouble(longest=600) == ""
    assert "a resource waits for 400 s" in trouble(overdue=400, idle=301)
    assert "lasts for 2000 s" in trouble(longest=2000)
    assert "Pod" in trouble(0, 0, 0, "Pod")


def test_writes_keep_their_pace(run: Run) -> None:
    """A burst at once, then so many a second, in order of arrival."""

    async def scenario() -> list[float]:
        pace, loop = Pace(rate=10, burst=5), asyncio.get_running_loop()
        begun, turns = loop.time(), []

        async def take() -> None:
            await pace.turn()
            turns.append(round(loop.time() - begun, 6))

        await asyncio.gather(*(take() for _ in range(10)))
        return turns

    assert run(scenario()) == [0, 0, 0, 0, 0, 0.1, 0.2, 0.3, 0.4, 0.5]


def test_every_child_kind_is_watched_by_label_only() -> None:
    """The server filters: no foreign Secret reaches the process."""
    selectors = tuning.settings().watching.label_selectors
    for kind in kinds.LABELLED:
        assert selectors[kind.group, kind.version, kind.plural] == names.OWNED_SELECTOR
