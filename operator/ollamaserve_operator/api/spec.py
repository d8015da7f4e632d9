"""The spec's blocks as frozen dataclasses; the defaults are those of the CRD's schema.

Fields are the schema's, in snake case. Blocks that Kubernetes defines (affinity, tolerations,
resources, rules of a policy, templates of a patch) are handed through as they are written.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Access(StrEnum):
    READ = "read"
    INFER = "infer"
    MANAGE = "manage"
    FULL = "full"


class AccessMode(StrEnum):
    """ReadWriteOncePod is no choice: the pull Job has to join the serving pod on the volume."""

    READ_WRITE_ONCE = "ReadWriteOnce"
    READ_WRITE_MANY = "ReadWriteMany"


class Strategy(StrEnum):
    """Who pulls: a Job into the claim, or each pod for itself (the only way without a claim)."""

    JOB = "Job"
    IN_POD = "InPod"


class UpdateStrategy(StrEnum):
    AUTO = "Auto"
    RECREATE = "Recreate"
    ROLLING_UPDATE = "RollingUpdate"


class UpgradePolicy(StrEnum):
    """When pods get the images of a newer operator (decision 9)."""

    ON_SPEC_CHANGE = "OnSpecChange"
    ALWAYS = "Always"


class PatchType(StrEnum):
    JSON = "json"
    MERGE = "merge"


class WhenDeleted(StrEnum):
    DELETE = "Delete"
    RETAIN = "Retain"


@dataclass(frozen=True, slots=True)
class Create:
    """A model made of another one, as `POST /api/create` takes it; `from_` is that one's name."""

    from_: str
    system: str | None = None
    template: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Model:
    name: str
    digest: str = ""
    warm: bool = False
    create: Create | None = None


@dataclass(frozen=True, slots=True)
class CaBundle:
    """A ConfigMap of the namespace and the key in it that holds PEM certificates."""

    name: str
    key: str = "ca.crt"


@dataclass(frozen=True, slots=True)
class Proxy:
    """URLs, and the comma-separated hosts that are reached without them."""

    http: str = ""
    https: str = ""
    no: str = ""


@dataclass(frozen=True, slots=True)
class Pull:
    strategy: Strategy | None = None
    insecure: bool = False
    ca_bundle: CaBundle | None = None
    proxy: Proxy = field(default_factory=Proxy)
    retries: int = 6
    resources: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Persistent:
    size: str = "30Gi"
    storage_class_name: str | None = None
    access_mode: AccessMode = AccessMode.READ_WRITE_ONCE
    when_deleted: WhenDeleted = WhenDeleted.DELETE


@dataclass(frozen=True, slots=True)
class Ephemeral:
    size_limit: str | None = None


@dataclass(frozen=True, slots=True)
class ExistingClaim:
    """A PersistentVolumeClaim of the user's, which is mounted and never written."""

    name: str
    sub_path: str = ""


Storage = Persistent | Ephemeral | ExistingClaim


@dataclass(frozen=True, slots=True)
class Gpu:
    count: int = 1
    resource: str = "nvidia.com/gpu"
    require_acceleration: bool = True
    supplemental_groups: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Image:
    ollama: str = ""
    pull_policy: str = "IfNotPresent"
    pull_secrets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ollama:
    """Ollama's own settings; None leaves the choice to Ollama."""

    keep_alive: str = "-1"
    context_length: int | None = None
    num_parallel: int | None = None
    max_loaded_models: int | None = None
    max_queue: int | None = None
    flash_attention: bool | None = None
    kv_cache_type: str | None = None
    load_timeout: str | None = None


@dataclass(frozen=True, slots=True)
class Token:
    key: str = "AUTH_TOKEN"
    access: Access = Access.INFER
    models: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AuthorizedKey:
    """The public key of somebody's `ollama` program: a line of its `id_ed25519.pub`."""

    name: str
    key: str
    access: Access = Access.INFER
    models: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Auth:
    """`secret_name` is the user's own Secret; empty: one is generated.

    `rotation_grace_period` is in seconds.
    """

    secret_name: str = ""
    tokens: tuple[Token, ...] = (Token(),)
    authorized_keys: tuple[AuthorizedKey, ...] = ()
    rotation_grace_period: int = 3600


@dataclass(frozen=True, slots=True)
class Tls:
    """A Secret of the type kubernetes.io/tls; empty: no TLS."""

    secret_name: str = ""


@dataclass(frozen=True, slots=True)
class Cors:
    allowed_origins: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Limits:
    """Per replica; None leaves the choice to the gate, whose defaults docs/architecture.md has."""

    body_bytes: int | None = None
    concurrent_requests: int | None = None
    concurrent_requests_per_token: int | None = None
    queue: int | None = None
    queue_wait_seconds: int | None = None
    requests_per_minute: int | None = None
    connections: int | None = None


@dataclass(frozen=True, slots=True)
class Gate:
    """`drain_timeout` is in seconds."""

    drain_timeout: int = 120
    tls: Tls = field(default_factory=Tls)
    health_path: str = ""
    cors: Cors = field(default_factory=Cors)
    limits: Limits = field(default_factory=Limits)
    upgrade_policy: UpgradePolicy = UpgradePolicy.ON_SPEC_CHANGE
    resources: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Service:
    type: str = "ClusterIP"
    annotations: Mapping[str, str] = field(default_factory=dict)
    node_port: int | None = None
    load_balancer_class: str | None = None


@dataclass(frozen=True, slots=True)
class Ingress:
    """Where there is an Ingress at all, it has a host."""

    host: str
    class_name: str | None = None
    tls: Tls = field(default_factory=Tls)
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HttpRoute:
    parent_refs: tuple[Mapping[str, Any], ...]
    hostnames: tuple[str, ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NetworkPolicy:
    """`from_` are NetworkPolicyPeers that may reach 7860, empty: everyone; `egress` are rules."""

    enabled: bool = True
    from_: tuple[Mapping[str, Any], ...] = ()
    egress: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class PodDisruptionBudget:
    """`enabled` None: where there are several replicas."""

    enabled: bool | None = None
    max_unavailable: int | str = 1


@dataclass(frozen=True, slots=True)
class PodMonitor:
    enabled: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    interval: str = ""


@dataclass(frozen=True, slots=True)
class Monitoring:
    """`from_` are NetworkPolicyPeers that may reach 7861 besides the operator."""

    pod_monitor: PodMonitor = field(default_factory=PodMonitor)
    from_: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Patch:
    """One change to our own child of the kind `target`: RFC 6902 (json) or RFC 7396 (merge)."""

    target: str
    type: PatchType
    patch: Any


@dataclass(frozen=True, slots=True)
class Scheduling:
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Mapping[str, Any], ...] = ()
    affinity: Mapping[str, Any] = field(default_factory=dict)
    topology_spread_constraints: tuple[Mapping[str, Any], ...] = ()
    priority_class_name: str = ""
    runtime_class_name: str | None = None
    scheduler_name: str = ""


@dataclass(frozen=True, slots=True)
class Identity:
    """What every answer about a resource needs, even when its spec is unreadable."""

    name: str
    namespace: str
    uid: str
    generation: int


@dataclass(frozen=True, slots=True)
class OllamaServe:
    identity: Identity
    models: tuple[Model, ...]
    pull: Pull = field(default_factory=Pull)
    storage: Storage = field(default_factory=Persistent)
    gpu: Gpu = field(default_factory=Gpu)
    resources: Mapping[str, Any] = field(default_factory=dict)
    replicas: int = 1
    image: Image = field(default_factory=Image)
    ollama: Ollama = field(default_factory=Ollama)
    env: tuple[Mapping[str, Any], ...] = ()
    auth: Auth = field(default_factory=Auth)
    gate: Gate = field(default_factory=Gate)
    service: Service = field(default_factory=Service)
    ingress: Ingress | None = None
    http_route: HttpRoute | None = None
    network_policy: NetworkPolicy = field(default_factory=NetworkPolicy)
    pod_disruption_budget: PodDisruptionBudget = field(default_factory=PodDisruptionBudget)
    scheduling: Scheduling = field(default_factory=Scheduling)
    update_strategy: UpdateStrategy = UpdateStrategy.AUTO
    monitoring: Monitoring = field(default_factory=Monitoring)
    patches: tuple[Patch, ...] = ()
    suspend: bool = False
    retry: str = ""
    rotate: str = ""

    @property
    def name(self) -> str:
        return self.identity.name

    @property
    def namespace(self) -> str:
        return self.identity.namespace

    @property
    def running_replicas(self) -> int:
        return 0 if self.suspend else self.replicas

    @property
    def scheme(self) -> str:
        """What the door speaks: `http`, or with gate.tls `https`."""
        return "https" if self.gate.tls.secret_name else "http"

    @property
    def pulls_in_pod(self) -> bool:
        """Whether each pod pulls for itself; a volume that no Job can join leaves no other way."""
        return isinstance(self.storage, Ephemeral) or self.pull.strategy is Strategy.IN_POD


@dataclass(frozen=True, slots=True)
class Invalid:
    """A spec that cannot be served; each error names the field, the value and the remedy."""

    identity: Identity
    errors: tuple[str, ...]
