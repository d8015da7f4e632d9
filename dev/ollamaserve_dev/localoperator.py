"""The operator as a process of this machine, for tests and benchmarks on the control plane.

It has the rights that it has in a pod: its token is that of the ServiceAccount in
deploy/install.yaml, so a verb that the ClusterRole lacks is found here.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ollamaserve_dev import cache, install
from ollamaserve_dev.kubectl import Kubectl, until

SYSTEM, ACCOUNT = "ollamaserve-system", "ollamaserve-operator"
IMAGES = {"GATE_IMAGE": "gate:1", "OLLAMA_IMAGE": "ollama:1", "OLLAMA_ROCM_IMAGE": "ollama:1-rocm"}
READS = frozenset({"get", "list"})

_SAMPLE = re.compile(r"^ollamaserve_operator_(\w+?)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


def installed(admin: Kubectl, folder: Path) -> "LocalOperator":
    """Apply deploy/install.yaml; the operator, at rest, as its ServiceAccount."""
    text = install.render()
    system = admin.within(SYSTEM)
    system.run("apply", "--server-side", "--force-conflicts", "--filename=-", stdin=text)
    system.run("wait", "--for=condition=Established", "crd/ollamaserves.ollamaserve.dev")
    return LocalOperator(identity(system, folder), folder / "operator.log")


def identity(system: Kubectl, folder: Path) -> Path:
    """A kubeconfig with the token of the operator's account in this namespace, and no other."""
    config = json.loads(system.kubeconfig.read_text())
    token = system.run("create", "token", ACCOUNT, "--duration=2h").strip()
    for user in config["users"]:
        user["user"] = {"token": token}
    kubeconfig = folder / "operator-kubeconfig"
    kubeconfig.touch(mode=0o600)
    kubeconfig.write_text(json.dumps(config))
    return kubeconfig


@dataclass
class LocalOperator:
    """The process, and what it tells on its port; `variables` are more of its environment."""

    kubeconfig: Path
    log: Path
    variables: Mapping[str, str] = field(default_factory=dict)
    port: int = 0
    process: subprocess.Popen[bytes] | None = None

    def start(self, seconds: float = 30) -> None:
        """Return when it answers /livez: everything has been listed then."""
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port = found.getsockname()[1]
        environment = {
            "KUBECONFIG": os.fspath(self.kubeconfig),
            "OPERATOR_LISTEN": f"127.0.0.1:{self.port}",
            "PYTHONPATH": os.fspath(cache.CHECKOUT / "operator"),
        }
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                (sys.executable, "-m", "ollamaserve_operator"),
                env={**IMAGES, **environment, **self.variables},
                stdout=log,
                stderr=log,
            )
        until("the operator answers /livez", self.alive, seconds=seconds, every=0.1)

    def alive(self) -> bool:
        """Whether it answers; a process that has ended is an error, with the end of its log."""
        if self.process is None or self.process.poll() is not None:
            raise RuntimeError(f"the operator has ended: {self.log.read_text()[-2000:]}")
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
        for labels, value in self.samples("api_calls_total"):
            key = labels["verb"], labels["kind"]
            found[key] = found.get(key, 0) + value
        return found

    def written(self) -> dict[tuple[str, str], float]:
        return {call: count for call, count in self.calls().items() if call[0] not in READS}

    def writes(self) -> float:
        return sum(self.written().values())

    def looks(self) -> float:
        """How often a resource was looked at, by whatever outcome."""
        return sum(value for _, value in self.samples("reconcile_seconds_count"))

    def gauge(self, name: str) -> float:
        ((_, value),) = self.samples(name)
        return value

    def samples(self, name: str) -> list[tuple[dict[str, str], float]]:
        """The labels and values of a metric, without its prefix `ollamaserve_operator_`."""
        return [
            (dict(_LABEL.findall(labels)), float(value))
            for found, labels, value in _SAMPLE.findall(self._get("/metrics"))
            if found == name
        ]

    def _get(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
            text: str = answer.read().decode()
            return text
