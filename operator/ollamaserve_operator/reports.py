"""What the gates say of themselves on 7861: asked beside the loop, never in its way.

`reconcile` takes the last known reports and thereby has old ones asked for again; an answer that
differs puts the resource back into the queue. A poll that fails gives nothing and changes nothing
(decision 5): a pod that can't be reached costs no reconcile any time.
"""

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import aiohttp
from yarl import URL

from ollamaserve_operator import names, report
from ollamaserve_operator.observed import Pod
from ollamaserve_operator.report import GateReport

FRESH = 2.0
FORGET = (
    180.0  # seconds: longer than two looks at a settled resource, so that words don't alternate
)
AT_ONCE = 64
LONGEST = 256 * 1024
TIMEOUT = aiohttp.ClientTimeout(total=2.0)


@dataclass(frozen=True, slots=True)
class _Known:
    report: GateReport
    at: float


class Reports:
    """`count` is told each poll's outcome: ok or failed."""

    def __init__(
        self, session: aiohttp.ClientSession, *, count: Callable[[str], None] = lambda _: None
    ) -> None:
        self._session = session
        self._count = count
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._known: dict[str, _Known] = {}
        self._polls: dict[str, asyncio.Task[None]] = {}
        self._sweep_at = 0.0

    def of(self, pods: Iterable[Pod], changed: Callable[[], None]) -> Mapping[str, GateReport]:
        """The reports at hand, by pod name; `changed` is called once for each that comes anew."""
        now = asyncio.get_running_loop().time()
        found = {}
        for pod in pods:
            if not _answers(pod):
                self._known.pop(pod.uid, None)
                continue
            known = self._known.get(pod.uid)
            if known is not None and now - known.at < FORGET:
                found[pod.name] = known.report
            if known is None or now - known.at >= FRESH:
                self._ask(pod, changed)
        return found

    def _ask(self, pod: Pod, changed: Callable[[], None]) -> None:
        if pod.uid in self._polls:
            return
        task = asyncio.create_task(self._poll(pod, changed), name=f"poll {pod.name}")
        self._polls[pod.uid] = task
        task.add_done_callback(lambda _: self._polls.pop(pod.uid, None))

    async def _poll(self, pod: Pod, changed: Callable[[], None]) -> None:
        async with self._slots:
            found = await self._fetch(pod.ip)
        self._count("failed" if found is None else "ok")
        if found is None:
            return
        known = self._known.get(pod.uid)
        self._keep(pod, found)
        if known is None or known.report != found:
            changed()

    def _keep(self, pod: Pod, found: GateReport) -> None:
        """And drop what nobody asked for any more: pods can go without our noticing."""
        now = asyncio.get_running_loop().time()
        self._known[pod.uid] = _Known(found, now)
        if now >= self._sweep_at:
            self._sweep_at = now + FORGET
            self._known = {uid: k for uid, k in self._known.items() if now - k.at < FORGET}

    async def _fetch(self, ip: str) -> GateReport | None:
        url = URL.build(scheme="http", host=ip, port=names.STATUS_PORT, path="/status")
        try:
            async with self._session.get(url, timeout=TIMEOUT, allow_redirects=False) as response:
                if response.status != 200:  # noqa: PLR2004 (the one status that has a report)
                    return None
                body = await _read(response.content)
            document = json.loads(body)
        except (aiohttp.ClientError, OSError, ValueError):
            return None
        return report.parse(document) if isinstance(document, dict) else None


def _answers(pod: Pod) -> bool:
    return bool(pod.ip) and pod.phase == "Running" and not pod.deleting


async def _read(stream: aiohttp.StreamReader) -> bytes:
    """The whole body, refused beyond 256 KiB: who answers there need not be a gate."""
    body = b""
    async for chunk in stream.iter_any():
        body += chunk
        if len(body) > LONGEST:
            raise ValueError("the report is too long")
    return body
