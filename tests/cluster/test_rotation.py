"""The rotation of tokens on a real API server, with a stand-in for the gate of the one pod (G6).

No kubelet projects a Secret here: the stand-in answers on the pod's address with the revision that
the test gives it. What real gates make of a rotation under load, tests/e2e tries.
"""

import base64
import json
import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from cluster.life import Body, await_reason, child, condition, rested, seen, serve
from ollamaserve_dev.kubectl import Kubectl
from ollamaserve_dev.localoperator import LocalOperator
from ollamaserve_operator import names

pytestmark = pytest.mark.cluster

ADDRESS = "127.0.7.1"
NOWHERE = {"nodeSelector": {"no": "such-node"}}


class Gate(ThreadingHTTPServer):
    """7861 of the one pod."""

    revision = ""

    def __init__(self) -> None:
        super().__init__((ADDRESS, names.STATUS_PORT), Status)


class Status(BaseHTTPRequestHandler):
    server: Gate

    def do_GET(self) -> None:
        tokens = {"names": ["AUTH_TOKEN"], "revision": self.server.revision}
        body = json.dumps({"mode": "serve", "ready": True, "reason": "Ready", "tokens": tokens})
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: Any) -> None:
        """Nothing to tell."""


@pytest.fixture
def gate() -> Iterator[Gate]:
    with Gate() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def running(team: Kubectl) -> str:
    """The serving pod, which no node has, as if kubelet had called it ready; its name."""
    labels = f"{names.INSTANCE}=llama,{names.COMPONENT}=server"
    (pod,) = seen(team, "the pod is there", lambda: team.list("pod", labels))
    name: str = pod["metadata"]["name"]
    status = {
        "phase": "Running",
        "podIP": ADDRESS,
        "podIPs": [{"ip": ADDRESS}],
        "conditions": [{"type": "Ready", "status": "True"}],
    }
    team.patch("pod", name, {"status": status}, "--subresource=status")
    return name


def rotate(team: Kubectl, value: str) -> None:
    team.run("annotate", "--overwrite", "ollamaserve", "llama", f"{names.ROTATE}={value}")


def values(secret: Body) -> dict[str, str]:
    return {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}


def offered(team: Kubectl) -> dict[str, str]:
    def look() -> dict[str, str] | None:
        found = values(child(team, "secret"))
        return found if "AUTH_TOKEN_NEXT" in found else None

    found: dict[str, str] = seen(team, "the next token is offered", look)
    return found


def test_two_phases_across_a_killed_operator(
    team: Kubectl, operator: LocalOperator, gate: Gate
) -> None:
    """G6: offered, awaited by name, promoted once the gate has it; killed in between it goes on."""
    team.apply(serve(scheduling=NOWHERE))
    pod = running(team)
    old = values(child(team, "secret"))
    rotate(team, "1")
    between = offered(team)
    assert pod in seen(team, "the pod is waited for", lambda: _waits(team, pod))
    operator.stop(signal.SIGKILL)
    operator.start()
    rested(operator)
    assert values(child(team, "secret")) == between
    assert between["AUTH_TOKEN"] == old["AUTH_TOKEN"] != between["AUTH_TOKEN_NEXT"]

    gate.revision = between["REVISION"]
    assert await_reason(team, "TokensRotated", "Rotated")["status"] == "True"
    secret = child(team, "secret")
    after = values(secret)
    previous = json.loads(after.pop("AUTH_TOKEN_PREVIOUS"))
    assert previous["token"] == old["AUTH_TOKEN"]
    assert after.keys() == {"AUTH_TOKEN", "REVISION"}
    assert after["AUTH_TOKEN"] == between["AUTH_TOKEN_NEXT"]
    assert after["REVISION"] != between["REVISION"]
    _nobody_kept_it(team, operator, {*old.values(), *between.values()} - {between["REVISION"]})
    owners = [f for f in _managed(team) if "f:data" in f["fieldsV1"]]
    assert {field["operation"] for field in owners} == {"Update"}


def _waits(team: Kubectl, pod: str) -> str | None:
    found = condition(team, "TokensRotated")
    return found["message"] if pod in found.get("message", "") else None


def _nobody_kept_it(team: Kubectl, operator: LocalOperator, tokens: set[str]) -> None:
    """Neither the log nor any object but the Secret has a token in it."""
    kinds = "ollamaserve,configmap,deployment,job,pod,events.events.k8s.io"
    told = operator.log.read_text() + team.run("get", kinds, "--output=yaml")
    assert not [token for token in tokens if token in told]


def _managed(team: Kubectl) -> list[Body]:
    text = team.run("get", "secret", "llama-auth", "--output=json", "--show-managed-fields")
    found: list[Body] = json.loads(text)["metadata"]["managedFields"]
    return found


def test_suspended_nobody_is_waited_for_and_the_same_value_is_done_once(
    team: Kubectl, operator: LocalOperator
) -> None:
    """No pod, nothing to wait for; another look and another life do nothing more."""
    team.apply(serve(suspend=True))
    old = values(child(team, "secret"))["AUTH_TOKEN"]
    rotate(team, "1")
    await_reason(team, "TokensRotated", "Rotated")
    once = values(child(team, "secret"))
    operator.stop()
    operator.start()
    rested(operator)

    assert once["AUTH_TOKEN"] != old
    assert values(child(team, "secret")) == once


def test_a_revoked_key_is_not_revived_by_a_rotation(team: Kubectl) -> None:
    """Decision 11: deleted from the Secret, a key stays out; the others are rotated."""
    tokens = [{"key": "AUTH_TOKEN"}, {"key": "TEAM_B"}]
    team.apply(serve(suspend=True, auth={"tokens": tokens}))
    old = values(child(team, "secret"))["AUTH_TOKEN"]
    team.patch("secret", "llama-auth", {"data": {"TEAM_B": None}})
    rotate(team, "1")
    await_reason(team, "TokensRotated", "Rotated")
    found = values(child(team, "secret"))

    assert found.keys() == {"AUTH_TOKEN", "AUTH_TOKEN_PREVIOUS", "REVISION"}
    assert found["AUTH_TOKEN"] != old


def test_a_users_secret_is_left_to_the_user(team: Kubectl) -> None:
    """Decision 11: the operator neither reads nor writes it, and says how to rotate there."""
    team.run("create", "secret", "generic", "mine", "--from-literal=AUTH_TOKEN=of-the-user")
    before = team.get("secret", "mine")
    team.apply(serve(suspend=True, auth={"secretName": "mine"}))
    rotate(team, "1")

    assert "your Secret mine" in await_reason(team, "TokensRotated", "NotOurs")["message"]
    assert team.get("secret", "mine") == before
