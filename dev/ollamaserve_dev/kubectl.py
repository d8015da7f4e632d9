"""kubectl, bound to one cluster and one namespace: what the demo and the end-to-end tests speak.

They use the same client as a user, so that what they show is what a user sees.
"""

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import yaml

from ollamaserve_dev import tools

Body = dict[str, Any]
Found = TypeVar("Found")


class KubectlError(RuntimeError):
    """kubectl refused; the message is its own, without the manifest that was sent."""


class NotYetError(AssertionError):
    """What was awaited did not come in time; the message says what was seen last."""


@dataclass(frozen=True, slots=True)
class Kubectl:
    kubeconfig: Path
    namespace: str = "default"

    def within(self, namespace: str) -> "Kubectl":
        return replace(self, namespace=namespace)

    def command(self, *words: str) -> list[str]:
        return [
            *(str(tools.path("kubectl")), f"--kubeconfig={self.kubeconfig}"),
            *(f"--namespace={self.namespace}", *words),
        ]

    def run(self, *words: str, stdin: str | None = None) -> str:
        """Standard output of `kubectl <words>`; raises KubectlError with its standard error."""
        done = subprocess.run(
            self.command(*words), input=stdin, capture_output=True, text=True, check=False
        )
        if done.returncode:
            # Of a refused CRD kubectl quotes the whole twice; the cause stands at the end.
            raise KubectlError(f"kubectl {' '.join(words)}: {done.stderr.strip()[-1500:]}")
        return done.stdout

    def apply(self, *manifests: Mapping[str, Any], server_side: bool = False) -> None:
        how = ("--server-side", "--force-conflicts") if server_side else ()
        self.run("apply", *how, "--filename=-", stdin=yaml.safe_dump_all(manifests))

    def get(self, kind: str, name: str) -> Body | None:
        text = self.run("get", kind, name, "--output=json", "--ignore-not-found")
        return json.loads(text) if text else None

    def list(self, kind: str, selector: str = "") -> "list[Body]":
        text = self.run("get", kind, f"--selector={selector}", "--output=json")
        items: list[Body] = json.loads(text)["items"]
        return items

    def patch(self, kind: str, name: str, patch: Mapping[str, Any], *more: str) -> None:
        self.run("patch", kind, name, "--type=merge", f"--patch={json.dumps(patch)}", *more)

    @contextmanager
    def port_forward(self, target: str, port: int) -> Iterator[int]:
        """A local port that leads to `port` of `target` (`service/llama`) while it is open."""
        words = self.command("port-forward", target, f":{port}")
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as forward:
            try:
                line = forward.stdout.readline() if forward.stdout else ""
                found = re.search(r":(\d+) ->", line)
                if not found:
                    raise KubectlError(f"port-forward to {target} did not open")
                yield int(found[1])
            finally:
                forward.terminate()


def until(
    what: str, look: Callable[[], Found | None], *, seconds: float, every: float = 0.5
) -> Found:
    """The first true value that `look` gives; raises NotYetError naming `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise NotYetError(f"{what}: not within {seconds:.0f} s")
        time.sleep(every)
