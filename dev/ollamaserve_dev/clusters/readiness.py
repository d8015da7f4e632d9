"""When a cluster is up: its API answers, every node is Ready, DNS and storage are there."""

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from ollamaserve_dev import progress, tools

Look = Callable[[], bool]
SECONDS_TO_BE_READY = 180
DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"


def kubectl(kubeconfig: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        (tools.path("kubectl"), f"--kubeconfig={kubeconfig}", *words),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def answers(kubeconfig: Path) -> bool:
    words = ("get", "--raw=/readyz", "--request-timeout=5s")
    return kubeconfig.exists() and kubectl(kubeconfig, *words).returncode == 0


def wait(kubeconfig: Path, *, seconds: float = SECONDS_TO_BE_READY) -> None:
    """Wait for nodes, CoreDNS and a default StorageClass; SetupError says which is missing."""
    limit = f"--timeout={seconds:.0f}s"
    _must(kubeconfig, "wait", "--for=condition=Ready", "node", "--all", limit)
    _must(kubeconfig, "-n", "kube-system", "rollout", "status", "deployment/coredns", limit)
    until(lambda: has_default_class(kubeconfig), "a default StorageClass", seconds=seconds)


def has_default_class(kubeconfig: Path) -> bool:
    found = kubectl(kubeconfig, "get", "storageclass", "--output=json")
    if found.returncode:
        return False
    classes = json.loads(found.stdout)["items"]
    return any(c["metadata"].get("annotations", {}).get(DEFAULT_CLASS) == "true" for c in classes)


def until(look: Look, what: str, *, seconds: float) -> None:
    """Look twice a second; raises SetupError naming `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not look():
        if time.monotonic() > deadline:
            raise progress.SetupError(f"{what}: not there within {seconds:.0f} s")
        time.sleep(0.5)


def _must(kubeconfig: Path, *words: str) -> None:
    done = kubectl(kubeconfig, *words)
    if done.returncode:
        pods = kubectl(kubeconfig, "get", "nodes,pods", "--all-namespaces").stdout
        raise progress.SetupError(f"kubectl {' '.join(words)}: {done.stderr.strip()}\n{pods}")
