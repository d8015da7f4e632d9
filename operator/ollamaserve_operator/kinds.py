"""The kinds that the operator tells the API server of, their addresses, and its verbs on each.

The one table from which requests, watches and the RBAC check are made: `cluster` refuses a call
that isn't in it, and a contract test holds it equal to the ClusterRole in deploy/.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from ollamaserve_operator import names


class Verb(StrEnum):
    """RBAC's words, see kubernetes.io "Authorization Overview", request verbs."""

    GET = "get"
    LIST = "list"
    WATCH = "watch"
    CREATE = "create"
    PATCH = "patch"
    DELETE = "delete"


_SEEN = frozenset({Verb.LIST, Verb.WATCH})
_OWNED = _SEEN | {Verb.GET, Verb.CREATE, Verb.PATCH}
_DISPENSABLE = _OWNED | {Verb.DELETE}  # what the spec may no longer want, and no user keeps
_OPTIONAL = _DISPENSABLE - {Verb.WATCH}  # kopf can't watch what may not be there


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of objects; `subresources` are the verbs on each subresource."""

    name: str
    group: str
    version: str
    plural: str
    verbs: frozenset[Verb]
    subresources: Mapping[str, frozenset[Verb]] = field(default_factory=dict, hash=False)

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The address under the API server's root; without a namespace, of all namespaces."""
        root = f"/apis/{self.api_version}" if self.group else f"/api/{self.version}"
        within = f"/namespaces/{namespace}" if namespace else ""
        tail = "".join(f"/{part}" for part in (name, subresource) if part)
        return f"{root}{within}/{self.plural}{tail}"

    def allows(self, verb: Verb, subresource: str = "") -> bool:
        verbs = self.subresources.get(subresource, frozenset()) if subresource else self.verbs
        return verb in verbs


OLLAMA_SERVE = Kind(
    names.KIND,
    names.GROUP,
    names.VERSION,
    names.PLURAL,
    _SEEN,
    {"status": frozenset({Verb.PATCH})},
)
SECRET = Kind("Secret", "", "v1", "secrets", _OWNED)
CONFIG_MAP = Kind("ConfigMap", "", "v1", "configmaps", _OWNED)
PERSISTENT_VOLUME_CLAIM = Kind("PersistentVolumeClaim", "", "v1", "persistentvolumeclaims", _OWNED)
SERVICE = Kind("Service", "", "v1", "services", _OWNED)
DEPLOYMENT = Kind("Deployment", "apps", "v1", "deployments", _OWNED)
JOB = Kind("Job", "batch", "v1", "jobs", _DISPENSABLE)
NETWORK_POLICY = Kind("NetworkPolicy", "networking.k8s.io", "v1", "networkpolicies", _DISPENSABLE)
INGRESS = Kind("Ingress", "networking.k8s.io", "v1", "ingresses", _DISPENSABLE)
POD_DISRUPTION_BUDGET = Kind(
    "PodDisruptionBudget", "policy", "v1", "poddisruptionbudgets", _DISPENSABLE
)
HTTP_ROUTE = Kind("HTTPRoute", "gateway.networking.k8s.io", "v1", "httproutes", _OPTIONAL)
POD_MONITOR = Kind("PodMonitor", "monitoring.coreos.com", "v1", "podmonitors", _OPTIONAL)
POD = Kind("Pod", "", "v1", "pods", _SEEN)
EVENT = Kind("Event", "events.k8s.io", "v1", "events", frozenset({Verb.CREATE}))

CHILDREN = (
    SECRET,
    CONFIG_MAP,
    PERSISTENT_VOLUME_CLAIM,
    SERVICE,
    DEPLOYMENT,
    JOB,
    NETWORK_POLICY,
    POD_DISRUPTION_BUDGET,
    INGRESS,
)
OPTIONAL = (HTTP_ROUTE, POD_MONITOR)  # children too, where the cluster has their CRDs
LABELLED = (*CHILDREN, POD)
WATCHED = (OLLAMA_SERVE, *LABELLED)
ALL = (*WATCHED, *OPTIONAL, EVENT)
BY_NAME: Mapping[str, Kind] = {kind.name: kind for kind in ALL}
