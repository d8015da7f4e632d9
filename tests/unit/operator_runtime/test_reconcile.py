"""The loop, with the real rooms around it and an API server in memory: whatever fails, it settles.

"Killed at any write, it converges": each scenario is run once undisturbed to count its calls, and
then once for each call and each way to fail.
"""

import base64
import json
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest

from ollamaserve_operator import kinds, names
from ollamaserve_operator.cache import Cache, Key
from ollamaserve_operator.cluster import Cluster
from ollamaserve_operator.errors import Transient
from ollamaserve_operator.manifests import Images
from ollamaserve_operator.pace import Pace
from ollamaserve_operator.reconcile import Reconciler
from ollamaserve_operator.reports import Reports
from ollamaserve_operator.sweep import Sweep
from unit.operator_runtime.fakeapi import Answer, Body, Call, FakeApi, refusal, resource

LLAMA = Key("team-a", "llama")
HOME = kinds.OLLAMA_SERVE.path(*LLAMA)
CHILDREN = sorted(
    ["Secret", "ConfigMap", "PersistentVolumeClaim", "Service", "Deployment", "Job"]
    + ["NetworkPolicy"] * 2
)
IMAGES = Images(gate="gate:1", ollama="ollama:1", ollama_rocm="ollama:1-rocm")


class Killed(BaseException):
    """The process is gone between one instruction and the next."""


class Operator:
    """One life of the operator: a cache filled from the API server, and the loop."""

    def __init__(
        self, api: FakeApi, session: aiohttp.ClientSession, *, crowded: bool = False
    ) -> None:
        self.api, self.cache = api, Cache()
        cluster = Cluster(api, pace=Pace(rate=1e6, burst=1000))
        self.sweep = Sweep(cluster, self.cache, (), lambda _key: None)
        self.again: list[Key] = []
        self.judged: list[tuple[Key, Any]] = []
        self.reconcile = Reconciler(
            cache=self.cache,
            cluster=cluster,
            reports=Reports(session),
            images=IMAGES,
            again=self.again.append,
            judged=lambda key, conditions: self.judged.append((key, conditions)),
            crowded=lambda: crowded,
            clock=lambda: datetime(2030, 1, 1, tzinfo=UTC),
        )

    def watch(self) -> None:
        """What the watches would show now."""
        for body in self.api.objects.values():
            if body["kind"] != "Event":
                self.cache.put(body)
        for kind in kinds.WATCHED:
            for ref, _ in list(self.cache.versions(kind.name)):
                if kind.path(ref.namespace, ref.name) not in self.api.objects:
                    self.cache.remove(ref)

    async def settle(self) -> None:
        """Reconcile as the queue would, until a look writes nothing; the watch lags behind."""
        for turn in range(8):
            before = len(self.api.writes)
            try:
                await self.reconcile(LLAMA)
            except Transient:
                before = -1
            if len(self.api.writes) == before:
                return
            if turn % 2:
                self.watch()
        raise AssertionError("it never comes to rest")


def applied(api: FakeApi) -> list[str]:
    return [kind for kind in api.kinds() if kind not in {"OllamaServe", "Event"}]


def values(api: FakeApi) -> dict[str, str]:
    """The Secret's, decoded."""
    data = api.objects["/api/v1/namespaces/team-a/secrets/llama-auth"]["data"]
    return {key: base64.b64decode(value).decode() for key, value in data.items()}


def accepted(api: FakeApi, token: str) -> bool:
    """Whether a gate with this Secret lets the token in, within the grace of a rotation."""
    found = values(api)
    previous = json.loads(found.get("AUTH_TOKEN_PREVIOUS", "{}"))
    return token in {found["AUTH_TOKEN"], previous.get("token")}


async def started(
    api: FakeApi, session: aiohttp.ClientSession, *, crowded: bool = False
) -> Operator:
    operator = Operator(api, session, crowded=crowded)
    await operator.sweep.fill()
    api.calls.clear()
    return operator


@pytest.fixture
def api() -> FakeApi:
    api = FakeApi()
    api.put(HOME, resource())
    return api


async def test_one_look_makes_every_child_and_says_so_once(api: FakeApi) -> None:
    """All children, one status write at the end, events after it."""
    async with aiohttp.ClientSession() as session:
        operator = await started(api, session)
        await operator.reconcile(LLAMA)

        assert applied(api) == CHILDREN
        paths = [call.path for call in api.writes]
        status = paths.index(f"{HOME}/status")
        assert paths.count(f"{HOME}/status") == 1
        assert all("/events" in path for path in paths[status + 1 :])
        assert api.objects[HOME]["status"]["observedGeneration"] == 1
        assert operator.judged == [(LLAMA, api.objects[HOME]["status"]["conditions"])]


async def test_in_a_crowd_the_deployment_comes_first(api: FakeApi) -> None:
    """The first look asks for pods alone, the next makes all, then come the words."""
    async with aiohttp.ClientSession() as session:
        operator = await started(api, session, crowded=True)
        assert await operator.reconcile(LLAMA) == 0
        assert applied(api) == ["Deployment"]
        assert "status" not in api.objects[HOME]

        assert await operator.reconcile(LLAMA) == 0
        assert applied(api) == CHILDREN
        assert "status" not in api.objects[HOME]

        assert await operator.reconcile(LLAMA) != 0
        made = [call.path.split("/")[-2] for call in api.writes]
        assert made.index("networkpolicies") < made.index("configmaps")
        assert api.objects[HOME]["status"]["conditions"]


async def test_a_restart_of_a_settled_operator_writes_nothing(api: FakeApi) -> None:
    """The wish is compared with what is there, not with what was done."""
    async with aiohttp.ClientSession() as session:
        await (await started(api, session)).settle()
        second = await started(api, session)
        await second.reconcile(LLAMA)
        assert api.writes == []


async def test_what_is_deleted_comes_back_and_what_is_changed_returns(api: FakeApi) -> None:
    """Drift: only the child in question is written, and the token stays."""
    async with aiohttp.ClientSession() as session:
        operator = await started(api, session)
        await operator.settle()
        kept = values(api)
        service = "/api/v1/namespaces/team-a/services/llama"
        deployment = "/apis/apps/v1/namespaces/team-a/deployments/llama"
        del api.objects[service]
        changed = json.loads(json.dumps(api.objects[deployment]))
        changed["spec"]["template"]["spec"]["containers"][0]["image"] = "evil:1"
        api.put(deployment, changed)
        operator.watch()
        api.calls.clear()

        await operator.settle()

        written = {call.path for call in api.writes if "/events" not in call.path}
        assert {service, deployment} <= written <= {service, deployment, f"{HOME}/status"}
        containers = api.objects[deployment]["spec"]["template"]["spec"]["containers"]
        assert [c["image"] for c in containers] == ["gate:1", "ollama:1"]
        assert values(api) == kept


async def test_a_change_that_the_answer_to_our_status_brings_is_looked_at(api: FakeApi) -> None:
    """The watch tells of it too late: by then the cache holds a newer version of the resource."""

    def change(call: Call) -> None:
        if call.path.endswith("/status") and "annotations" not in api.objects[HOME]["metadata"]:
            body = json.loads(json.dumps(api.objects[HOME]))
            body["metadata"]["annotations"] = {names.ROTATE: "1"}
            api.put(HOME, body)

    api.before = change
    async with aiohttp.ClientSession() as session:
        operator = await started(api, session)
        await operator.reconcile(LLAMA)
        assert operator.again == [LLAMA]
        operator.watch()
        await operator.reconcile(LLAMA)
    assert operator.again == [LLAMA]
    assert "AUTH_TOKEN_PREVIOUS" in values(api)


async def test_what_the_cache_wrongly_believes_in_is_looked_up_live(api: FakeApi) -> None:
    """A deletion that no watch has told: the apply answers 409, the next look creates."""
    async with aiohttp.ClientSession() as session:
        operator = await started(api, session)
        await operator.settle()
        path = "/apis/apps/v1/namespaces/team-a/deployments/llama"
        del api.objects[path]
        api.objects[HOME]["spec"]["image"] = {"ollama": "mine:2"}
        operator.cache.put(api.put(HOME, api.objects[HOME]))

        with pytest.raises(Transient):
            await operator.reconcile(LLAMA)
        await operator.reconcile(LLAMA)

        assert api.objects[path]["spec"]["template"]["spec"]["containers"][1]["image"] == "mine:2"


async def test_a_child_replaced_by_a_users_object_is_a_conflict_and_no_refusal(
    api: FakeApi,
) -> None:
    """Decision 1: no watch has told yet; the uid in the apply is what saves the user's object."""
    path = "/api/v1/namespaces/team-a/services/llama"
    async with aiohttp.ClientSession() as session:
        operator = await started(api, session)
        await operator.settle()
        del api.objects[path]
        theirs = api.put(
            path, {"kind": "Service", "metadata": {"name": "llama", "namespace": "team-a"}}
        )
        api.objects[HOME]["spec"]["service"] = {"annotations": {"a": "b"}}
        operator.cache.put(api.put(HOME, api.objects[HOME]))

        with pytest.raises(Transient):
            await operator.reconcile(LLAMA)
        await operator.reconcile(LLAMA)

    conditions = {c["type"]: c for c in api.objects[HOME]["status"]["conditions"]}
    assert conditions["Accepted"]["reason"] == "NameConflict"
    assert api.objects[path] == theirs


async def test_a_resource_that_goes_away_is_left_alone(api: FakeApi) -> None:
    """Garbage collection deletes; a key without a resource is forgotten."""
    async with aiohttp.ClientSession() as session:
        operator = await started(api, session)
        assert await operator.reconcile(Key("team-a", "nobody")) is None
        api.objects[HOME]["metadata"]["deletionTimestamp"] = "2030-01-01T00:00:00Z"
        api.put(HOME, api.objects[HOME])
        operator.watch()
        assert await operator.reconcile(LLAMA) is None
        assert api.writes == []
        assert operator.judged[-1] == (LLAMA, ())


async def test_one_refused_child_stops_no_other_and_is_told(api: FakeApi) -> None:
    """A quota on Jobs: everything else is there, and a condition has the server's words."""
    api.before = lambda call: (
        refusal(403, "Forbidden", "exceeded quota: count/jobs.batch=0")
        if "/jobs" in call.path and call.writes
        else None
    )
    async with aiohttp.ClientSession() as session:
        operator = await started(api, session)
        await operator.reconcile(LLAMA)
    assert applied(api) == [kind for kind in CHILDREN if kind != "Job"]
    assert "exceeded quota" in json.dumps(api.objects[HOME]["status"]["conditions"])


async def test_a_refusal_is_logged_when_it_begins_and_not_at_each_try(
    api: FakeApi, caplog: pytest.LogCaptureFixture
) -> None:
    """One WARN line; again after it was lifted and came back; each try is one call."""

    def quota(call: Call) -> Answer | None:
        refused = "/services/" in call.path and call.writes
        return refusal(403, "Forbidden", "exceeded quota") if refused else None

    async with aiohttp.ClientSession() as session:
        operator = await started(api, session)
        told = []
        for before in (quota, quota, lambda _call: None, quota):
            api.before = before
            del caplog.records[:]
            api.objects.pop("/api/v1/namespaces/team-a/services/llama", None)
            operator.watch()
            api.calls.clear()
            await operator.reconcile(LLAMA)
            warnings = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
            told.append(warnings)
            assert len([call for call in api.writes if "/services/" in call.path]) == 1
    words = ["refused: Service llama: exceeded quota"]
    assert told == [words, [], [], words]


async def test_in_a_namespace_that_goes_away_each_step_is_tried_once(
    api: FakeApi, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is said to be created that wasn't, and nothing is tried again in the same look."""
    gone = refusal(403, "Forbidden", "no", causes=[{"reason": "NamespaceTerminating"}])
    api.before = lambda call: gone if call.writes and not call.path.endswith("/status") else None
    with caplog.at_level("INFO"):
        async with aiohttp.ClientSession() as session:
            operator = await started(api, session)
            await operator.reconcile(LLAMA)
    written = [call.path for call in api.writes if "/events" not in call.path]
    assert len(written) == len(set(written)) > 1
    assert not [record for record in caplog.records if "created" in record.getMessage()]


async def test_a_copy_of_a_child_is_left_alone(api: FakeApi) -> None:
    """Decision 1: made from a child's YAML, it has labels and owner, and is no child of ours."""
    path = "/api/v1/namespaces/team-a/secrets/llama-auth"
    async with aiohttp.ClientSession() as session:
        await (await started(api, session)).settle()
        copy = json.loads(json.dumps(api.objects[path]))
        copy["metadata"] |= {"name": "llama-auth-old", "uid": "copy"}
        copy["data"] = {}
        copy["metadata"]["annotations"] = {}
        api.put(f"{path}-old", copy)
        second = await started(api, session)
        await second.reconcile(LLAMA)
        assert api.writes == []


async def test_a_users_secret_is_never_asked_for(api: FakeApi) -> None:
    """Decision 11: with `auth.secretName` no call touches a Secret; the gate alone reads it."""
    api.put(HOME, resource(auth={"secretName": "mine"}))
    async with aiohttp.ClientSession() as session:
        await (await started(api, session)).settle()
    assert [call.path for call in api.calls if "/secrets" in call.path] == []
    assert api.objects[HOME]["status"]["tokenSecret"] == "mine"


async def test_a_users_service_stays_and_the_conflict_is_named(api: FakeApi) -> None:
    """Decision 1: NameConflict in Accepted, every other child there, the Service as it was."""
    path = "/api/v1/namespaces/team-a/services/llama"
    api.put(path, {"kind": "Service", "metadata": {"name": "llama", "namespace": "team-a"}})
    before = json.dumps(api.objects[path])
    async with aiohttp.ClientSession() as session:
        operator = await started(api, session)
        await operator.reconcile(LLAMA)
    assert json.dumps(api.objects[path]) == before
    conditions = {c["type"]: c for c in api.objects[HOME]["status"]["conditions"]}
    assert conditions["Accepted"]["reason"] == "NameConflict"
    assert "llama" in conditions["Accepted"]["message"]
    assert applied(api) == CHILDREN


def _fails(_call: Call) -> Answer:
    return refusal(500, "InternalError", "etcdserver: request timed out")


def _breaks(_call: Call) -> Answer:
    raise aiohttp.ServerDisconnectedError


def _kills(_call: Call) -> Answer:
    raise Killed


def at(number: int, act: Callable[[Call], Answer]) -> Callable[[Call], Answer | None]:
    """A fault in the call of this number."""
    seen = 0

    def fault(call: Call) -> Answer | None:
        nonlocal seen
        seen += 1
        return act(call) if seen == number else None

    return fault


async def _live(
    api: FakeApi,
    session: aiohttp.ClientSession,
    change: Callable[[], Any],
    *,
    crowded: bool = False,
) -> None:
    """A life until it comes to rest or is killed; `change` happens after the start."""
    operator = await started(api, session, crowded=crowded)
    change()
    operator.watch()
    try:
        await operator.settle()
    except Killed:
        return


CREATED = ("created", "created in a crowd")
SCENARIOS: dict[str, Callable[[Body], None]] = {
    **dict.fromkeys(CREATED, lambda _body: None),
    "another model": lambda body: body["spec"]["models"].append({"name": "phi3"}),
    "another image": lambda body: body["spec"].update(image={"ollama": "mine:2"}),
    "another token": lambda body: body["spec"].update(
        auth={"tokens": [{"key": "AUTH_TOKEN"}, {"key": "TEAM_B"}]}
    ),
    "suspended": lambda body: body["spec"].update(suspend=True),
    "tokens rotated": lambda body: body["metadata"].update(annotations={names.ROTATE: "1"}),
    "less wanted": lambda body: body["spec"].update(networkPolicy={"enabled": False}),
    "more wanted": lambda body: body["spec"].update(
        storage={"ephemeral": {}}, replicas=2, ingress={"host": "llama.example.com"}
    ),
    "volume kept": lambda body: body["spec"].update(
        storage={"persistent": {"whenDeleted": "Retain"}}
    ),
    "pulled again": lambda body: body["metadata"].update(annotations={names.RETRY: "1"}),
}


async def _scenario(
    name: str, session: aiohttp.ClientSession, before: Any = None, after: Any = None
) -> FakeApi:
    """Settled, then changed with a fault, then another life without one."""
    api = FakeApi()
    api.put(HOME, resource())
    if name not in CREATED:
        await _live(api, session, lambda: None)
    kept = values(api)["AUTH_TOKEN"] if name not in CREATED else ""

    def change() -> None:
        body = json.loads(json.dumps(api.objects[HOME]))
        SCENARIOS[name](body)
        body["metadata"]["generation"] += 1
        api.put(HOME, body)
        api.calls.clear()
        api.before, api.after = before or api.before, after or api.after

    await _live(api, session, change, crowded="crowd" in name)
    calls = list(api.calls)
    api.before = api.after = lambda _call: None
    await _live(api, session, lambda: None)
    assert not kept or accepted(api, kept), "a token that was given out must stay good"
    api.calls[:] = calls
    return api


def _shape(api: FakeApi) -> dict[str, Any]:
    """Everything but what differs between two clusters by nature; two Jobs are two."""
    shape: dict[str, Any] = defaultdict(list)
    for path, body in api.objects.items():
        if body["kind"] == "Event":
            continue
        text = json.dumps({k: v for k, v in body.items() if k not in {"metadata", "data"}})
        for other in api.objects.values():
            text = text.replace(other["metadata"]["uid"], "UID")
        entry = json.loads(text), sorted(body.get("data") or {})
        shape[path.split("-pull-")[0]].append(entry)
    return shape


@pytest.mark.parametrize("name", SCENARIOS)
async def test_whatever_call_fails_it_converges(name: str) -> None:
    """At each call: refused for the moment, broken before, broken after the write, killed there."""
    async with aiohttp.ClientSession() as session:
        calm = await _scenario(name, session)
        expected, calls = _shape(calm), len(calm.calls)
        assert calls > 1
        for number in range(1, calls + 1):
            for act in (_fails, _breaks, _kills):
                assert _shape(await _scenario(name, session, before=at(number, act))) == expected
            for act in (_breaks, _kills):
                assert _shape(await _scenario(name, session, after=at(number, act))) == expected
