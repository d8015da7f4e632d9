"""What the gates say of themselves on 7861: asked beside the loop, never in its way.

`reconcile` takes the last known reports and thereby has old ones asked for again; an answer that
differs puts the resource back into the queue. A poll that fails gives nothing and changes nothing
(decision 5): a pod that can't be reached costs no reconcile any time.
"""

import asyncio
import json
import logging
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
STUBBORN = 10  # polls in a row
LONGEST = 256 * 1024
TIMEOUT = aiohttp.ClientTimeout(total=2.0)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Known:
    report: GateReport
    at: float


@dataclass(frozen=True, slots=True)
class _Silence:
    polls: int
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
        self._silent: dict[str, _Silence] = {}
        self._sweep_at = 0.0

    def of(self, pods: Iterable[Pod], changed: Callable[[], None]) -> Mapping[str, GateReport]:
        """The reports at hand, by pod name; `changed` is called once for each that comes anew."""
        now = asyncio.get_running_loop().time()
        found = {}
        for pod in pods:
            if not _answers(pod):
                self._known.pop(pod.uid, None)
                self._silent.pop(pod.uid, None)
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
        self._count("failed" if isinstance(found, str) else "ok")
        self._forget()
        if isinstance(found, str):
            self._miss(pod, found)
            return
        if (silence := self._silent.pop(pod.uid, None)) and silence.polls >= STUBBORN:
            logger.info("pod %s answers on %d again", pod.name, names.STATUS_PORT)
        known = self._known.get(pod.uid)
        self._known[pod.uid] = _Known(found, asyncio.get_running_loop().time())
        if known is None or known.report != found:
            changed()

    def _miss(self, pod: Pod, why: str) -> None:
        """One line for a pod that stays silent: the first polls of each one find it starting."""
        before = self._silent.get(pod.uid)
        polls = before.polls + 1 if before else 1
        self._silent[pod.uid] = _Silence(polls, asyncio.get_running_loop().time())
        if polls == STUBBORN:
            logger.warning("pod %s doesn't answer on %d: %s", pod.name, names.STATUS_PORT, why)

    def _forget(self) -> None:
        """Drop what nobody asked for any more: pods can go without our noticing."""
        now = asyncio.get_running_loop().time()
        if now < self._sweep_at:
            return
        self._sweep_at = now + FORGET
        self._known = {uid: k for uid, k in self._known.items() if now - k.at < FORGET}
        self._silent = {uid: s for uid, s in self._silent.items() if now - s.at < FORGET}

    async def _fetch(self, ip: str) -> GateReport | str:
        """The report, or why there is none."""
        url = URL.build(scheme="http", host=ip, port=names.STATUS_PORT, path="/status")
        try:
            async with self._session.get(url, timeout=TIMEOUT, allow_redirects=False) as response:
                if response.status != 200:  # noqa: PLR2004 (the one status that has a report)
                    return f"HTTP {response.status}"
                body = await _read(response.content)
            document = json.loads(body)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return type(error).__name__
        return report.parse(document) if isinstance(document, dict) else "no report"


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
