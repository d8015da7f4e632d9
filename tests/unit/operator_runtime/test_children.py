"""The loop with children that come and go: refused patches, kinds that appear, wishes that end."""

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from ollamaserve_operator import kinds
from unit.operator_runtime.fakeapi import Body, FakeApi, refusal, resource
from unit.operator_runtime.test_reconcile import HOME, LLAMA, Operator, started

INGRESS = kinds.INGRESS.path(*LLAMA)
ROUTE = kinds.HTTP_ROUTE.path(*LLAMA)
SERVICE = kinds.SERVICE.path(*LLAMA)
BROKEN = {"target": "Service", "type": "merge", "patch": {"spec": {"selector": {"a": "b"}}}}


@pytest.fixture
def api() -> FakeApi:
    return FakeApi()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def apply(api: FakeApi, **spec: Any) -> None:
    """As the user does: the status stays, the generation counts on."""
    body = resource(**spec)
    before = api.objects.get(HOME)
    if before:
        body["status"] = before["status"]
        body["metadata"] = before["metadata"] | {"generation": before["metadata"]["generation"] + 1}
    api.put(HOME, json.loads(json.dumps(body)))


def children(api: FakeApi) -> dict[str, Body]:
    return {p: b for p, b in api.objects.items() if b["kind"] not in {"OllamaServe", "Event"}}


def condition(api: FakeApi, kind: str) -> Body:
    conditions = api.objects[HOME]["status"]["conditions"]
    found: Body = next(c for c in conditions if c["type"] == kind)
    return found


async def settled(api: FakeApi, session: aiohttp.ClientSession) -> Operator:
    operator = await started(api, session)
    await operator.settle()
    operator.watch()
    api.calls.clear()
    return operator


async def test_a_refused_patch_stops_everything_and_what_runs_stays(
    api: FakeApi, session: aiohttp.ClientSession
) -> None:
    """Decision 16: Accepted=False, PatchRefused; no other change of that spec is applied either."""
    apply(api)
    operator = await settled(api, session)
    before = json.dumps(children(api))
    apply(api, patches=[BROKEN], service={"type": "NodePort"})
    operator.watch()
    await operator.reconcile(LLAMA)

    assert json.dumps(children(api)) == before
    assert (condition(api, "Accepted")["status"], condition(api, "Accepted")["reason"]) == (
        *("False", "PatchRefused"),
    )
    assert "spec.patches[0] (Service)" in condition(api, "Ready")["message"]
    assert condition(api, "Stalled")["reason"] == "PatchRefused"

    apply(api, service={"type": "NodePort"})
    operator.watch()
    await operator.settle()
    assert api.objects[SERVICE]["spec"]["type"] == "NodePort"
    assert condition(api, "Accepted")["status"] == "True"


async def test_with_a_refused_patch_nothing_is_made_at_all(
    api: FakeApi, session: aiohttp.ClientSession
) -> None:
    """Not half a resource, that would have to be cleaned up."""
    apply(api, patches=[BROKEN])
    await settled(api, session)
    assert {body["kind"] for body in api.objects.values()} <= {"OllamaServe", "Event"}


async def test_a_wish_that_ends_takes_its_child_along(
    api: FakeApi, session: aiohttp.ClientSession
) -> None:
    """One delete with the uid; the next look finds nothing to do."""
    apply(api, ingress={"host": "a.example"})
    operator = await settled(api, session)
    uid = api.objects[INGRESS]["metadata"]["uid"]
    apply(api)
    operator.watch()
    await operator.settle()

    (delete,) = [call for call in api.calls if call.method == "DELETE"]
    assert (delete.path, delete.body) == (
        INGRESS,
        {"propagationPolicy": "Background", "preconditions": {"uid": uid}},
    )
    assert INGRESS not in api.objects


async def test_a_users_ingress_of_that_name_stays(
    api: FakeApi, session: aiohttp.ClientSession
) -> None:
    """Decision 1: neither taken over nor, when the wish ends, deleted."""
    api.put(INGRESS, {"kind": "Ingress", "metadata": {"name": "llama", "namespace": "team-a"}})
    apply(api, ingress={"host": "a.example"})
    operator = await started(api, session)
    await operator.reconcile(LLAMA)
    assert condition(api, "Accepted")["reason"] == "NameConflict"
    assert "Ingress llama exists" in condition(api, "Accepted")["message"]

    apply(api)
    operator.watch()
    await operator.settle()
    assert api.objects[INGRESS]["metadata"].get("ownerReferences") is None
    assert condition(api, "Accepted")["status"] == "True"


async def test_a_kind_that_appears_gets_its_object_and_its_drift_repaired(
    api: FakeApi, session: aiohttp.ClientSession
) -> None:
    """Decision 13: told while it is missing, made at the next sweep, repaired at the one after."""
    absent = True
    api.before = lambda call: refusal(404) if absent and "httproutes" in call.path else None
    apply(api, httpRoute={"parentRefs": [{"name": "gate"}]})
    operator = await settled(api, session)
    assert condition(api, "Accepted")["reason"] == "KindMissing"

    absent = False
    await operator.sweep.look(kinds.HTTP_ROUTE)
    await operator.settle()
    assert api.objects[ROUTE]["spec"]["parentRefs"] == [{"name": "gate"}]
    assert condition(api, "Accepted")["reason"] == "Accepted"

    changed = json.loads(json.dumps(api.objects[ROUTE]))
    changed["spec"]["parentRefs"] = [{"name": "other"}]
    api.put(ROUTE, changed)
    await operator.sweep.look(kinds.HTTP_ROUTE)
    await operator.settle()
    assert api.objects[ROUTE]["spec"]["parentRefs"] == [{"name": "gate"}]


async def test_a_field_that_the_api_server_does_not_know_is_told_in_its_words(
    api: FakeApi, session: aiohttp.ClientSession
) -> None:
    """An apply is refused so with code 500, which is otherwise worth another try."""
    words = "failed to create typed patch object (team-a/llama; apps/v1, Kind=Deployment): .spec.x"
    api.before = lambda call: (
        refusal(500, "", words) if "deployments" in call.path and call.writes else None
    )
    apply(api, patches=[{"target": "Deployment", "type": "merge", "patch": {"spec": {"x": 1}}}])
    operator = await started(api, session)
    await operator.reconcile(LLAMA)

    assert condition(api, "Accepted")["reason"] == "Refused"
    assert words in condition(api, "Accepted")["message"]


class Webhook(FakeApi):
    """An API server in which an admission webhook has its own idea of a Service."""

    def put(self, path: str, body: Body) -> Body:
        if body["kind"] == "Service" and "spec" in body:
            body["spec"]["type"] = "LoadBalancer"
        return super().put(path, body)


async def test_what_a_webhook_makes_of_a_wish_is_asked_for_once(
    session: aiohttp.ClientSession,
) -> None:
    """One write, not one a look; a change by hand is still undone, a restart costs one more."""
    api = Webhook()
    apply(api)
    operator = await settled(api, session)
    for _ in range(3):
        await operator.reconcile(LLAMA)
    assert api.writes == []

    body = json.loads(json.dumps(api.objects[SERVICE]))
    body["spec"]["ports"][0]["port"] = 1
    api.put(SERVICE, body)
    operator.watch()
    await operator.settle()
    assert api.objects[SERVICE]["spec"]["ports"][0]["port"] == 7860
    again = await started(api, session)
    await again.settle()
    assert len(api.writes) == 1
