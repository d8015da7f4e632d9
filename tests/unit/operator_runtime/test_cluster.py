"""The API server's verbs and what its refusals mean, against an API server in memory."""

import base64
import json
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest

from ollamaserve_operator import kinds, names
from ollamaserve_operator.answers import Outdated
from ollamaserve_operator.api import Identity
from ollamaserve_operator.cluster import Cluster
from ollamaserve_operator.errors import NameConflict, Refused, Transient
from ollamaserve_operator.exchange import Request
from ollamaserve_operator.kinds import Kind, Verb
from ollamaserve_operator.pace import Pace
from ollamaserve_operator.plan import Apply, Create, Delete, Issue, Offer, Promote
from ollamaserve_operator.status import Event
from unit.operator_runtime.fakeapi import Answer, Call, FakeApi, refusal, resource

LLAMA = Identity("llama", "team-a", "uid-llama", 1)
OWNER = {
    "apiVersion": names.API_VERSION,
    "kind": names.KIND,
    "name": "llama",
    "uid": "uid-llama",
    "controller": True,
}
SERVICE = "/api/v1/namespaces/team-a/services/llama"
SECRET = "/api/v1/namespaces/team-a/secrets/llama-auth"


def manifest(kind: str = "Service", name: str = "llama", **more: Any) -> dict[str, Any]:
    metadata = {
        "name": name,
        "namespace": "team-a",
        "labels": names.labels("llama", names.Component.SERVER),
        "ownerReferences": [OWNER],
    }
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata} | more


@pytest.fixture
def api() -> FakeApi:
    return FakeApi()


@pytest.fixture
def cluster(api: FakeApi) -> Cluster:
    return Cluster(api, pace=Pace(rate=1e6, burst=1000))


async def test_a_child_is_created_by_an_apply_that_must_find_nothing(
    api: FakeApi, cluster: Cluster
) -> None:
    """Decision 1: server-side apply, one field manager, a version that no object has."""
    made = await cluster.create(Create(manifest(spec={"ports": []})))

    assert made is not None
    assert made["metadata"]["uid"]
    (call,) = api.calls
    assert (call.method, call.path) == ("PATCH", SERVICE)
    assert call.content == "application/apply-patch+yaml"
    assert call.query == {"fieldManager": "ollamaserve-operator", "force": "true"}


async def test_a_users_object_of_the_same_name_stays_untouched(
    api: FakeApi, cluster: Cluster
) -> None:
    """Decision 1: 409, a live read, another controller or none: NameConflict, nothing written."""
    theirs = api.put(SERVICE, {"kind": "Service", "metadata": {"name": "llama"}, "spec": {"a": 1}})
    before = json.dumps(theirs)

    with pytest.raises(NameConflict, match="Service llama exists and is not owned"):
        await cluster.create(Create(manifest(spec={"a": 2})))

    assert json.dumps(api.objects[SERVICE]) == before


async def test_our_own_object_behind_a_409_is_applied_to(api: FakeApi, cluster: Cluster) -> None:
    """Decision 1: the watch may not have shown it yet, or its label is gone."""
    live = {"kind": "Service", "metadata": {"name": "llama", "ownerReferences": [OWNER]}}
    api.put(SERVICE, live)

    made = await cluster.create(Create(manifest(spec={"a": 2})))

    assert made is not None
    assert made["spec"] == {"a": 2}
    assert made["metadata"]["labels"][names.INSTANCE] == "llama"


async def test_what_a_deleted_namesake_left_is_waited_for(api: FakeApi, cluster: Cluster) -> None:
    """Deleted and applied again at once: garbage collection is still at work, so try again."""
    old = OWNER | {"uid": "uid-of-before"}
    api.put(SERVICE, {"kind": "Service", "metadata": {"name": "llama", "ownerReferences": [old]}})

    with pytest.raises(Transient, match="not yet collected"):
        await cluster.create(Create(manifest()))


async def test_a_retained_volume_is_adopted_by_its_label(api: FakeApi, cluster: Cluster) -> None:
    """Decision 14: no ownerReference, but the name of the resource that it was kept for."""
    path = "/api/v1/namespaces/team-a/persistentvolumeclaims/llama-models"
    labels = {names.RETAINED_FOR: "llama"}
    api.put(path, {"kind": "PersistentVolumeClaim", "metadata": {"name": "x", "labels": labels}})
    wanted = manifest("PersistentVolumeClaim", "llama-models", spec={"a": 1})

    made = await cluster.create(Create(wanted))

    assert made is not None
    assert made["spec"] == {"a": 1}


async def test_a_missing_object_is_never_created_by_an_apply(
    api: FakeApi, cluster: Cluster
) -> None:
    """Decision 1: the observed uid is in the body, so the answer is 409 and nothing appears."""
    with pytest.raises(Outdated):
        await cluster.apply(Apply(manifest(), uid="uid-seen-before"))

    assert api.objects == {}


async def test_a_token_is_made_here_and_travels_only_in_the_request(
    api: FakeApi, cluster: Cluster
) -> None:
    """256 bits, URL-safe, another one each time; the manifest that the plan holds has none."""
    wanted = manifest("Secret", "llama-auth")
    await cluster.create(Create(wanted, issue=("AUTH_TOKEN", "TEAM_B")))

    (call,) = api.calls
    assert call.method == "POST"
    assert call.body is not None
    first, second = call.body["stringData"].values()
    assert len(first) == len(second) == 43
    assert first != second
    assert "stringData" not in wanted


async def test_more_tokens_are_issued_to_the_version_that_was_seen(
    api: FakeApi, cluster: Cluster
) -> None:
    """Decision 1: a merge patch with resourceVersion and uid; what is there stays."""
    made = api.put(
        SECRET, {"kind": "Secret", "metadata": {"name": "llama-auth"}, "data": {"A": "eA=="}}
    )
    version, uid = made["metadata"]["resourceVersion"], made["metadata"]["uid"]
    step = Issue("llama-auth", uid, version, ("B",), ((names.ISSUED_KEYS, "A,B"),))

    await cluster.issue("team-a", step)

    secret = api.objects[SECRET]
    assert sorted(secret["data"]) == ["A", "B"]
    assert secret["metadata"]["annotations"] == {names.ISSUED_KEYS: "A,B"}
    with pytest.raises(Outdated):
        await cluster.issue("team-a", step)


async def test_a_rotation_hands_on_the_values_that_nobody_keeps(
    api: FakeApi, cluster: Cluster
) -> None:
    """G6: offered under a random revision, promoted by a live read; each patch has its version."""
    made = api.put(
        SECRET, {"kind": "Secret", "metadata": {"name": "llama-auth"}, "data": {"A": "b2xk"}}
    )
    version, uid = made["metadata"]["resourceVersion"], made["metadata"]["uid"]
    offer = Offer("llama-auth", uid, version, ("A",), "1", "2026-03-04T05:06:07Z")

    offered = await cluster.offer("team-a", offer)
    assert offered is not None
    following = offered["data"]["A_NEXT"]
    with pytest.raises(Outdated):
        await cluster.offer("team-a", offer)
    promote = Promote("llama-auth", uid, ("A",), "1", "2026-03-04T06:06:07Z")
    promoted = await cluster.promote("team-a", promote)
    assert promoted is not None

    assert promoted["data"].keys() == {"A", "A_PREVIOUS", names.REVISION_KEY}
    assert promoted["data"]["A"] == following
    assert promoted["data"][names.REVISION_KEY] != offered["data"][names.REVISION_KEY]
    assert json.loads(base64.b64decode(promoted["data"]["A_PREVIOUS"])) == {
        "token": "old",
        "notAfter": "2026-03-04T06:06:07Z",
    }
    assert promoted["metadata"]["annotations"].keys() == {names.ROTATED, names.TOKEN_REVISION}
    assert all((call.body or {})["metadata"]["resourceVersion"] for call in api.writes)
    with pytest.raises(Outdated):
        await cluster.promote("team-a", promote)
    del api.objects[SECRET]
    with pytest.raises(Outdated):
        await cluster.promote("team-a", promote)


async def test_a_delete_takes_the_object_that_was_seen_and_no_other(
    api: FakeApi, cluster: Cluster
) -> None:
    """uid precondition; gone already is as good."""
    path = "/apis/batch/v1/namespaces/team-a/jobs/llama-pull-abcde"
    made = api.put(path, {"kind": "Job", "metadata": {"name": "llama-pull-abcde"}})
    step = Delete("Job", "llama-pull-abcde", made["metadata"]["uid"], "Foreground")

    with pytest.raises(Outdated):
        await cluster.delete("team-a", Delete("Job", step.name, "another", "Foreground"))
    await cluster.delete("team-a", step)
    await cluster.delete("team-a", step)

    assert api.objects == {}
    assert (api.calls[0].body or {})["propagationPolicy"] == "Foreground"


async def test_status_goes_to_its_subresource_and_a_gone_resource_is_no_error(
    api: FakeApi, cluster: Cluster
) -> None:
    """The uid is in the body there too: a namesake gets nobody else's status."""
    path = kinds.OLLAMA_SERVE.path("team-a", "llama")
    assert await cluster.write_status(LLAMA, {"replicas": 1}) is None

    body = resource()
    body["metadata"]["uid"] = "uid-llama"
    api.put(path, body)
    written = await cluster.write_status(LLAMA, {"replicas": 1})

    assert written is not None
    assert written["status"] == {"replicas": 1}
    assert api.calls[-1].path == f"{path}/status"


async def test_an_event_is_about_the_resource_and_fits_the_api(
    api: FakeApi, cluster: Cluster
) -> None:
    """events.k8s.io/v1 refuses notes beyond 1 kB."""
    at = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
    await cluster.post_event(LLAMA, Event("Warning", "PullFailed", "x" + "é" * 5000), at)

    body = api.calls[0].body or {}
    assert api.calls[0].path == "/apis/events.k8s.io/v1/namespaces/team-a/events"
    assert body["regarding"]["uid"] == "uid-llama"
    assert body["eventTime"] == "2030-01-02T03:04:05.000000Z"
    assert len(body["note"].encode()) == 1023


@pytest.mark.parametrize("metadata_only", [True, False])
async def test_a_kind_of_which_there_is_none_is_an_empty_list(
    cluster: Cluster, *, metadata_only: bool
) -> None:
    """A PartialObjectMetadataList without items has `items: null`: a fresh cluster has many."""
    pages = [page async for page in cluster.list(kinds.JOB, metadata_only=metadata_only)]

    assert [list(page.items) for page in pages] == [[]]


async def test_lists_are_paged_labelled_and_know_their_kind(api: FakeApi, cluster: Cluster) -> None:
    """Pages of 100; of Secrets only those with our label; items get the kind that lists omit."""
    labels = names.labels("llama", names.Component.SERVER)
    for number in range(201):
        name = f"s-{number}"
        metadata = {"name": name, "namespace": "team-a", "labels": labels}
        api.put(
            f"/api/v1/namespaces/team-a/secrets/{name}", {"kind": "Secret", "metadata": metadata}
        )
    api.put(SECRET, {"kind": "Secret", "metadata": {"name": "foreign"}})

    pages = [page async for page in cluster.list(kinds.SECRET)]

    assert [len(page.items) for page in pages] == [100, 100, 1]
    assert {item["kind"] for page in pages for item in page.items} == {"Secret"}
    assert api.calls[0].path == "/api/v1/secrets"


FORBIDDEN = refusal(403, "Forbidden", "exceeded quota: jobs=0")
INVALID = refusal(422, "Invalid", 'Service "llama" is invalid: spec.ports: Required value')
TERMINATING = refusal(403, "Forbidden", "no", causes=[{"reason": "NamespaceTerminating"}])
NO_NAMESPACE = refusal(404, "NotFound", 'namespaces "team-a" not found', kind="namespaces")
BUSY: Answer = (429, {"retry-after": "7"}, b"too many requests")


def always(answer: Answer) -> Any:
    return lambda _call: answer


@pytest.mark.parametrize("answer", [FORBIDDEN, INVALID, refusal(400), refusal(413)])
async def test_what_only_another_spec_can_change_is_refused(
    api: FakeApi, cluster: Cluster, answer: Answer
) -> None:
    """403, 422 and their kin: Refused, with the server's words."""
    api.before = always(answer)
    with pytest.raises(Refused) as caught:
        await cluster.apply(Apply(manifest(), uid="u"))
    assert (caught.value.kind, caught.value.name) == ("Service", "llama")
    assert caught.value.message in {json.loads(answer[2])["message"], f"HTTP {answer[0]}"}


@pytest.mark.parametrize("code", [401, 408, 429, 500, 502, 503, 504])
async def test_what_passes_is_transient(api: FakeApi, cluster: Cluster, code: int) -> None:
    """Whatever speaks of the moment, or comes from a proxy in between, is tried again."""
    api.before = always((code, {}, b"<html>bad gateway</html>"))
    with pytest.raises(Transient, match=f"HTTP {code}"):
        await cluster.apply(Apply(manifest(), uid="u"))


async def test_an_answer_without_json_is_transient(api: FakeApi, cluster: Cluster) -> None:
    """200 with a page of some proxy's: neither success nor a crash."""
    api.before = always((200, {}, b"<html>log in</html>"))
    with pytest.raises(Transient, match="isn't the API server's"):
        await cluster.apply(Apply(manifest(), uid="u"))


async def test_retry_after_is_passed_on(api: FakeApi, cluster: Cluster) -> None:
    """API priority and fairness says when to come back."""
    api.before = always(BUSY)
    with pytest.raises(Transient) as caught:
        await cluster.get(kinds.SERVICE, "team-a", "llama")
    assert caught.value.retry_after == 7


@pytest.mark.parametrize("error", [aiohttp.ServerDisconnectedError(), TimeoutError(), OSError()])
async def test_no_answer_is_transient(api: FakeApi, cluster: Cluster, error: Exception) -> None:
    """A broken connection may have written or not: the next look finds out."""

    def broken(_call: Call) -> Answer | None:
        raise error

    api.before = broken
    with pytest.raises(Transient, match=type(error).__name__):
        await cluster.create(Create(manifest()))


@pytest.mark.parametrize("answer", [TERMINATING, NO_NAMESPACE])
async def test_a_namespace_that_goes_away_is_let_go_quietly(
    api: FakeApi, cluster: Cluster, answer: Answer
) -> None:
    """Nothing is left to do there; that is no failure."""
    api.before = always(answer)
    assert await cluster.create(Create(manifest())) is None
    assert await cluster.apply(Apply(manifest(), uid="u")) is None
    assert await cluster.write_status(LLAMA, {}) is None
    await cluster.post_event(LLAMA, Event("Normal", "Ready", "."), datetime.now(UTC))


async def test_a_refused_secret_says_the_fields_and_no_value(
    api: FakeApi, cluster: Cluster
) -> None:
    """No token reaches a condition, even where the API server quotes what it was sent."""
    quoted = refusal(422, "Invalid", "data[X]: tok3n", causes=[{"field": "data[X]"}])
    api.before = always(quoted)
    with pytest.raises(Refused) as caught:
        await cluster.create(Create(manifest("Secret", "llama-auth"), issue=("X",)))
    assert caught.value.message == "Invalid data[X]"


async def test_401_makes_the_next_call_read_its_credentials_again(
    api: FakeApi, cluster: Cluster
) -> None:
    """A service account's token lives for an hour."""
    api.before = always(refusal(401))
    with pytest.raises(Transient):
        await cluster.get(kinds.SERVICE, "team-a", "llama")
    assert api.forgotten == 1


@pytest.mark.parametrize(
    ("kind", "verb"), [(kinds.SECRET, Verb.DELETE), (kinds.POD, Verb.GET), (kinds.EVENT, Verb.LIST)]
)
async def test_a_call_that_the_table_doesnt_name_is_a_mistake(
    api: FakeApi, cluster: Cluster, kind: Kind, verb: Verb
) -> None:
    """What RBAC doesn't allow is never tried: kinds.py is the one table."""
    with pytest.raises(LookupError, match=f"{verb} {kind.plural}"):
        await cluster._exchange.send(Request(verb, kind, "team-a"))
    assert api.calls == []
