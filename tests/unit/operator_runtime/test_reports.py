"""Polls of the gates: beside the loop, bounded, and without effect where they fail (decision 5)."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from ollamaserve_operator import names
from ollamaserve_operator.observed import Pod
from ollamaserve_operator.report import GateReport
from ollamaserve_operator.reports import STUBBORN, Reports


def pod(ip: str = "127.0.0.1", *, phase: str = "Running", deleting: bool = False) -> Pod:
    return Pod(
        name="llama-x",
        uid="u1",
        component="server",
        job="",
        phase=phase,
        ip=ip,
        ready=False,
        deleting=deleting,
        created="",
        unschedulable="",
        waiting=(),
        terminations=(),
    )


class Gate:
    """A stand-in for 7861: answers what it is told."""

    def __init__(self) -> None:
        self.answer = web.json_response({"mode": "serve", "ready": True})
        self.asked = 0

    async def status(self, request: web.Request) -> web.Response:
        self.asked += 1
        assert request.path == "/status"
        location = {"Location": self.answer.headers.get("Location", "")}
        return web.Response(body=self.answer.body, status=self.answer.status, headers=location)


@pytest.fixture(params=["127.0.0.1", "::1"])
async def gate(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Gate, str]]:
    gate = Gate()
    app = web.Application()
    app.router.add_get("/{path:.*}", gate.status)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, request.param, 0)
        await site.start()
    except OSError:
        pytest.skip(f"this machine has no {request.param}")
    monkeypatch.setattr(names, "STATUS_PORT", runner.addresses[0][1])
    yield gate, request.param
    await runner.cleanup()


async def polled(reports: Reports, *pods: Pod) -> int:
    """Ask, and wait until every poll has ended; how often something had changed."""
    changes: list[None] = []
    reports.of(pods, lambda: changes.append(None))
    await asyncio.gather(*reports._polls.values())
    return len(changes)


async def test_a_report_comes_beside_the_loop_and_wakes_it_when_new(gate: Any) -> None:
    """The first look has nothing; the answer enqueues; the next look has it. IPv6 too."""
    server, ip = gate
    async with aiohttp.ClientSession() as session:
        reports = Reports(session)
        assert reports.of([pod(ip)], lambda: None) == {}
        assert await polled(reports, pod(ip)) == 0  # one poll at a time
        assert server.asked == 1
        assert reports.of([pod(ip)], lambda: None) == {
            "llama-x": GateReport(mode="serve", ready=True)
        }


async def test_the_same_report_again_wakes_nobody(
    gate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Settled resources stay settled."""
    monkeypatch.setattr("ollamaserve_operator.reports.FRESH", 0.0)
    _, ip = gate
    async with aiohttp.ClientSession() as session:
        reports = Reports(session)
        assert await polled(reports, pod(ip)) == 1
        assert await polled(reports, pod(ip)) == 0


@pytest.mark.parametrize(
    "answer",
    [
        web.Response(text="not JSON"),
        web.Response(text="[1]"),
        web.Response(status=500),
        web.Response(status=302, headers={"Location": "http://127.0.0.1:1/"}),
        web.Response(body=b"x" * (300 * 1024)),
    ],
    ids=["no JSON", "no object", "500", "a redirect", "too long"],
)
async def test_a_poll_that_fails_gives_nothing_and_changes_nothing(
    gate: Any, answer: web.Response, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decision 5: what was known stays, nobody is woken; the outcome is counted."""
    monkeypatch.setattr("ollamaserve_operator.reports.FRESH", 0.0)
    server, ip = gate
    outcomes: list[str] = []
    async with aiohttp.ClientSession() as session:
        reports = Reports(session, count=outcomes.append)
        await polled(reports, pod(ip))
        server.answer = answer
        assert await polled(reports, pod(ip)) == 0
        assert outcomes == ["ok", "failed"]
        assert "llama-x" in reports.of([pod(ip)], lambda: None)
        await asyncio.gather(*reports._polls.values())


@pytest.mark.parametrize(
    "silent", [pod(""), pod(phase="Pending"), pod(deleting=True)], ids=["no ip", "pending", "going"]
)
async def test_pods_that_cannot_answer_are_not_asked(silent: Pod) -> None:
    """Neither those without an address nor those on their way out."""
    async with aiohttp.ClientSession() as session:
        reports = Reports(session)
        assert reports.of([silent], lambda: None) == {}
        assert reports._polls == {}


async def test_a_pod_that_stays_silent_is_logged_once_and_so_is_its_return(
    gate: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Polls that fail change no status: a line with the reason is all that tells of them."""
    monkeypatch.setattr("ollamaserve_operator.reports.FRESH", 0.0)
    server, ip = gate
    good, server.answer = server.answer, web.Response(status=503)
    async with aiohttp.ClientSession() as session:
        reports = Reports(session)
        with caplog.at_level("INFO", logger="ollamaserve_operator.reports"):
            for _ in range(2 * STUBBORN):
                await polled(reports, pod(ip))
            server.answer = good
            await polled(reports, pod(ip))
            server.answer = web.Response(status=503)
            await polled(reports, pod(ip))
    lines = [record.getMessage() for record in caplog.records]
    port = names.STATUS_PORT
    assert lines == [
        f"pod llama-x doesn't answer on {port}: HTTP 503",
        f"pod llama-x answers on {port} again",
    ]
