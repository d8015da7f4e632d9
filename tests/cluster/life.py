"""The operator as a process, and what tests ask of a team's namespace.

It is started as in a pod, with the rights that it has there: its token is that of the
ServiceAccount of deploy/install.yaml, so a verb that the ClusterRole lacks is found here.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ollamaserve_dev.kubectl import Kubectl, until

Body = dict[str, Any]

REPOSITORY = Path(__file__).parents[2]
SYSTEM, ACCOUNT = "ollamaserve-system", "ollamaserve-operator"
IMAGES = {"GATE_IMAGE": "gate:1", "OLLAMA_IMAGE": "ollama:1", "OLLAMA_ROCM_IMAGE": "ollama:1-rocm"}
SINGLE = {
    "secret": "llama-auth",
    "configmap": "llama-gate",
    "persistentvolumeclaim": "llama-models",
    "service": "llama",
    "deployment": "llama",
}
CALL = re.compile(r"^ollamaserve_operator_api_calls_total\{(.*)\} (.*)$", re.MULTILINE)
LABEL = re.compile(r'(\w+)="([^"]*)"')


@dataclass
class Operator:
    """The process, and what it tells on its port."""

    kubeconfig: Path
    log: Path
    port: int = 0
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port = found.getsockname()[1]
        environment = {
            "KUBECONFIG": os.fspath(self.kubeconfig),
            "OPERATOR_LISTEN": f"127.0.0.1:{self.port}",
            "PYTHONPATH": os.fspath(REPOSITORY / "operator"),
        }
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                (sys.executable, "-m", "ollamaserve_operator"),
                env=IMAGES | environment,
                stdout=log,
                stderr=log,
            )
        until("the operator answers /livez", self.alive, seconds=30)

    def alive(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()[-2000:]
        try:
            return self._get("/livez") == "ok"
        except OSError:
            return False

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(timeout=15)
            self.process = None

    def calls(self) -> dict[tuple[str, str], float]:
        """How often each verb was used on each kind."""
        found: dict[tuple[str, str], float] = {}
        for labels, count in CALL.findall(self._get("/metrics")):
            label = dict(LABEL.findall(labels))
            key = label["verb"], label["kind"]
            found[key] = found.get(key, 0) + float(count)
        return found

    def writes(self) -> float:
        return sum(n for (verb, _), n in self.calls().items() if verb not in {"list", "get"})

    def looks(self) -> float:
        """How often a resource was looked at, by whatever outcome."""
        found = re.findall(
            r"^ollamaserve_operator_reconcile_seconds_count\{.*\} (.*)$",
            self._get("/metrics"),
            re.MULTILINE,
        )
        return sum(map(float, found))

    def gauge(self, name: str) -> float:
        pattern = re.compile(rf"^ollamaserve_operator_{name} (.*)$", re.MULTILINE)
        line = pattern.search(self._get("/metrics"))
        assert line is not None, name
        return float(line[1])

    def _get(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
            text: str = answer.read().decode()
            return text


def serve(name: str = "llama", **spec: Any) -> Body:
    return {
        "apiVersion": "ollamaserve.dev/v1alpha1",
        "kind": "OllamaServe",
        "metadata": {"name": name},
        "spec": {"models": [{"name": "llama2:7b"}], "gpu": {"count": 0}} | spec,
    }


def seen(team: Kubectl, what: str, look: Callable[[], Any], seconds: float = 30) -> Any:
    """What `look` finds; where it finds nothing in time, the resource as it is now is shown."""
    try:
        return until(what, look, seconds=seconds, every=0.2)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{team.get('ollamaserve', 'llama')}") from None


def child(team: Kubectl, kind: str) -> Body:
    found: Body = seen(team, f"{kind} is there", lambda: team.get(kind, SINGLE[kind]))
    return found


def condition(team: Kubectl, kind: str, name: str = "llama") -> Body:
    body = team.get("ollamaserve", name) or {}
    conditions = body.get("status", {}).get("conditions", [])
    return next((found for found in conditions if found["type"] == kind), {})


def await_reason(
    team: Kubectl, kind: str, reason: str, seconds: float = 30, name: str = "llama"
) -> Body:
    """The condition, once it has this reason."""

    def look() -> Body | None:
        found = condition(team, kind, name)
        return found if found.get("reason") == reason else None

    found: Body = seen(team, f"{kind} {reason}", look, seconds)
    return found


def complete(team: Kubectl, count: int) -> bool:
    """Whether so many resources have all their children."""
    kinds = (*SINGLE, "job")
    owned = "app.kubernetes.io/managed-by=ollamaserve-operator"
    return all(len(team.list(kind, owned)) == count for kind in kinds)


def jobs(team: Kubectl) -> list[Body]:
    return team.list("job", "app.kubernetes.io/instance=llama")


def rested(operator: Operator) -> float:
    """The number of writes, once it no longer grows for longer than an unsettled look takes."""
    last, since = operator.writes(), time.monotonic()

    def quiet() -> bool:
        nonlocal last, since
        now = operator.writes()
        if now != last:
            last, since = now, time.monotonic()
        return time.monotonic() - since > 5 and operator.gauge("queue_depth") == 0

    until("the operator comes to rest", quiet, seconds=60)
    return last
