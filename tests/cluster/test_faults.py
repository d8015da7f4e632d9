"""Killed after any write, the operator's next life brings everything to the same end.

On a real API server, with the controllers at work; what else can go wrong with a call is injected
in tests/unit/operator_runtime, where an API server in memory makes it cheap.
"""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest

from cluster.life import Body, serve
from ollamaserve_dev.kubectl import Kubectl
from ollamaserve_dev.localoperator import IMAGES, LocalOperator
from ollamaserve_operator import connection, kinds, names
from ollamaserve_operator.cache import Cache, Key, reference
from ollamaserve_operator.cluster import Cluster
from ollamaserve_operator.connection import Connection
from ollamaserve_operator.errors import Transient
from ollamaserve_operator.exchange import Sender
from ollamaserve_operator.kinds import Kind
from ollamaserve_operator.manifests import Images
from ollamaserve_operator.pace import Pace
from ollamaserve_operator.reconcile import Reconciler
from ollamaserve_operator.reports import Reports

pytestmark = pytest.mark.cluster

PREFIX = "faults"
LONGEST = 120.0
ENDS = ("clusterIP", "clusterIPs", "volumeName", "selector", "status", "data", "manualSelector")
"""What the API server and the controllers fill in, different for each namespace."""


class Killed(BaseException):
    """The process is gone: the write is done, and nobody has read its answer."""


@dataclass
class Mortal:
    """A connection that dies once, after its `last` write."""

    sender: Sender
    last: int = 0
    writes: list[str] = field(default_factory=list)

    async def send(
        self, method: str, path: str, *, headers: dict[str, str], body: bytes | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        answer = await self.sender.send(method, path, headers=headers, body=body)
        if method != "GET" and "/events" not in path:
            self.writes.append(f"{method} {path}")
            if len(self.writes) == self.last:
                raise Killed
        return answer

    def forget(self) -> None:
        self.sender.forget()


class Life:
    """One life of an operator that watches one namespace, by looking again and again."""

    def __init__(self, sender: Sender, key: Key, session: aiohttp.ClientSession) -> None:
        self.key, self.cache = key, Cache()
        self.cluster = Cluster(sender, pace=Pace(rate=1000, burst=1000))
        images = Images(IMAGES["GATE_IMAGE"], IMAGES["OLLAMA_IMAGE"], IMAGES["OLLAMA_ROCM_IMAGE"])
        self.reconcile = Reconciler(
            cache=self.cache,
            cluster=self.cluster,
            reports=Reports(session),
            images=images,
            again=lambda _key: None,
        )

    async def until_ready(self) -> None:
        async with asyncio.timeout(LONGEST):
            while not await self.look():  # noqa: ASYNC110 (an API server in between)
                await asyncio.sleep(0.2)

    async def look(self) -> bool:
        """Whether it is Ready as it is specified now."""
        for kind in kinds.WATCHED:
            await self._watch(kind)
        try:
            await self.reconcile(self.key)
        except Transient:
            return False
        body = self.cache.resource(self.key) or {}
        return any(
            found["type"] == "Ready"
            and found["status"] == "True"
            and found["observedGeneration"] == body["metadata"]["generation"]
            for found in body["status"]["conditions"]
        )

    async def _watch(self, kind: Kind) -> None:
        """What a watch would have shown by now."""
        there = set()
        async for page in self.cluster.list(kind, self.key.namespace):
            for body in page.items:
                self.cache.put(body)
                there.add(reference(body))
        for ref, _ in list(self.cache.versions(kind.name)):
            if ref not in there:
                self.cache.remove(ref)


@pytest.fixture
def alone(operator: LocalOperator, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The CRD and the account are there, the operator isn't; we log in as the account."""
    operator.stop()
    monkeypatch.setenv("KUBECONFIG", str(operator.kubeconfig))
    yield
    operator.start()


CHANGED: Body = {
    "models": [{"name": "llama2:7b"}, {"name": "phi3"}],
    "env": [{"name": "A", "value": "1"}],
    "auth": {"tokens": [{"key": "AUTH_TOKEN"}, {"key": "TEAM_B"}]},
}


@dataclass(frozen=True)
class Scenario:
    """A resource is created and then changed; the operator dies once, and lives again."""

    admin: Kubectl
    sender: Sender
    session: aiohttp.ClientSession

    async def run(self, number: int) -> tuple[Any, list[str]]:
        """What there is in the end, and the writes of both lives; 0: it never dies."""
        team = self.admin.within(f"{PREFIX}-{number}")
        mortal = Mortal(self.sender, number)
        await asyncio.to_thread(team.apply, serve())
        await self._live(mortal, team.namespace)
        token = await _token(team)
        await asyncio.to_thread(team.apply, serve(**CHANGED))
        await self._live(mortal, team.namespace)
        assert await _token(team) == token, "a token that was given out must stay"
        return await _shape(team), mortal.writes

    async def _live(self, sender: Sender, namespace: str) -> None:
        for _ in range(2):
            life = Life(sender, Key(namespace, "llama"), self.session)
            try:
                await life.until_ready()
            except Killed:
                continue
            return


async def _token(team: Kubectl) -> str:
    body = await asyncio.to_thread(team.get, "secret", "llama-auth")
    assert body is not None
    return str(body["data"]["AUTH_TOKEN"])


async def _shape(team: Kubectl) -> dict[str, Any]:
    """Every child, without what differs from namespace to namespace by nature."""
    plurals = ",".join(kind.plural for kind in kinds.CHILDREN)
    bodies = await asyncio.to_thread(team.list, plurals, names.OWNED_SELECTOR)
    assert len(bodies) == len({_address(body) for body in bodies}), "one of each"
    return {_address(body): _plain(body, team.namespace) for body in bodies}


def _address(body: Body) -> str:
    return f"{body['kind']} {body['metadata']['name'].partition('-pull-')[0]}"


def _plain(body: Body, namespace: str) -> Any:
    spec = {key: value for key, value in body.get("spec", {}).items() if key not in ENDS}
    template = spec.get("template", {}).get("metadata", {}).get("labels", {})
    for label in [
        label for label in template if label.startswith(("batch.", "controller-", "job-"))
    ]:
        del template[label]
    kept = {
        "spec": spec,
        "labels": body["metadata"]["labels"],
        "keys": sorted(body.get("data") or {}),
    }
    if body["kind"] == "ConfigMap":
        kept["data"] = body["data"]
    return json.loads(json.dumps(kept).replace(namespace, "NAMESPACE"))


def _namespaces(count: int) -> list[Body]:
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"{PREFIX}-{number}"}}
        for number in range(count)
    ]


async def test_killed_after_any_write_it_converges(control_plane: Any, alone: None) -> None:
    """Created, then changed: whichever write was the last of a life, the end is the same."""
    admin = Kubectl(control_plane)
    async with (
        Connection(connection.login) as sender,
        aiohttp.ClientSession() as session,
    ):
        scenario = Scenario(admin, sender, session)
        admin.apply(*_namespaces(1))
        expected, writes = await scenario.run(0)
        admin.apply(*_namespaces(len(writes) + 1)[1:])
        deaths = range(1, len(writes) + 1)
        try:
            ends = await asyncio.gather(*(scenario.run(number) for number in deaths))
        finally:
            everywhere = [f"{PREFIX}-{number}" for number in range(len(writes) + 1)]
            admin.run("delete", "namespace", "--wait=false", *everywhere)
    assert len(writes) > len(kinds.CHILDREN)
    for number, (end, _) in zip(deaths, ends, strict=True):
        assert end == expected, f"after {writes[number - 1]}"
