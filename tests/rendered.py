"""The children of a spec, taken apart for tests."""

import json
from collections.abc import Mapping
from typing import Any

from examples import IMAGES, NOW, parsed, resource, stored
from ollamaserve_operator import kinds, patches
from ollamaserve_operator.errors import PatchRefused
from ollamaserve_operator.manifests import children
from ollamaserve_operator.observed import Observed, observe

Body = Mapping[str, Any]
OFFERED = frozenset(kind.name for kind in kinds.OPTIONAL)


class Rendered:
    """The children of a spec, or of a whole resource, by kind and by what is in them.

    Unless told what is observed: the claim is there, and a cluster that has every optional kind.
    """

    def __init__(self, spec: Body, observed: Observed | None = None) -> None:
        serve = parsed(spec if "metadata" in spec else resource(**spec))
        claim = observe(stored(children(serve, IMAGES, Observed(at=NOW))), at=NOW).pvc
        seen = observed or Observed(at=NOW, pvc=claim, offered=OFFERED)
        wanted = patches.patched(serve, IMAGES, children(serve, IMAGES, seen))
        assert not isinstance(wanted, PatchRefused), wanted
        self.manifests = wanted
        self.kinds: dict[str, Any] = {manifest["kind"]: manifest for manifest in self.manifests}

    def __getitem__(self, kind: str) -> Any:
        return self.kinds[kind]

    @property
    def pod(self) -> Any:
        return self["Deployment"]["spec"]["template"]["spec"]

    @property
    def job_pod(self) -> Any:
        return self["Job"]["spec"]["template"]["spec"]

    def container(self, name: str) -> Any:
        """A serving pod's, or the Job's `pull`."""
        pods = [self.pod, *([self.job_pod] if "Job" in self.kinds else [])]
        return next(c for pod in pods for c in pod["containers"] if c["name"] == name)

    @property
    def ollama(self) -> Any:
        return self.container("ollama")

    @property
    def puller(self) -> Any:
        return self.job_pod["initContainers"][0]

    @property
    def gate_json(self) -> Any:
        return json.loads(self["ConfigMap"]["data"]["gate.json"])

    @property
    def server_policy(self) -> Any:
        """The NetworkPolicy of the serving pods; the Job's is the other."""
        policies = [m for m in self.manifests if m["kind"] == "NetworkPolicy"]
        return next(p for p in policies if p["metadata"]["name"].endswith("-server"))

    @property
    def port(self) -> Any:
        return self["Service"]["spec"]["ports"][0]

    def volume(self, name: str) -> Any:
        return next(v for v in self.pod["volumes"] if v["name"] == name)

    @property
    def claim(self) -> Any:
        return self["PersistentVolumeClaim"]


def env(container: Any) -> dict[str, str]:
    return {entry["name"]: entry.get("value") for entry in container["env"]}


def mount(container: Any, name: str) -> Any:
    return next(m for m in container["volumeMounts"] if m["name"] == name)
