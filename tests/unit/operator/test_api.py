"""Parsing: defaults applied, every field read, and what can't be served refused as a value."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples import parsed, resource, sample
from ollamaserve_operator import api

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


def test_minimal_resource_has_safe_defaults() -> None:
    """One model and nothing else: a GPU, a volume of its own, one token that may infer."""
    serve = parsed(resource())

    assert serve.models == (api.Model("llama2:7b", warm=True),)
    assert serve.storage == api.Persistent("30Gi", None, api.AccessMode.READ_WRITE_ONCE)
    assert serve.gpu == api.Gpu(1, "nvidia.com/gpu", require_acceleration=True)
    assert serve.auth == api.Auth("", (api.Token("AUTH_TOKEN", api.Access.INFER),))
    assert serve.ollama.keep_alive == "-1"
    assert (serve.gate.drain_timeout, serve.replicas, serve.suspend) == (120, 1, False)


def test_null_is_absent() -> None:
    """As to the API server, which drops a null before it fills in defaults."""
    spec: dict[str, Any] = {
        "gate": None,
        "scheduling": {"affinity": None},
        "pull": {"caBundle": None},
    }

    assert parsed(resource(**spec)) == parsed(resource())


def test_first_model_is_warm_unless_said_otherwise() -> None:
    """`warm` defaults to true for the first model only, and is obeyed where it is written."""
    models = [{"name": "a"}, {"name": "b"}, {"name": "c", "warm": True}]
    first, second, third = parsed(resource(models=models)).models
    (cold,) = parsed(resource(models=[{"name": "a", "warm": False}])).models

    assert (first.warm, second.warm, third.warm, cold.warm) == (True, False, True, False)


def test_every_field_of_the_full_sample_is_read() -> None:
    """No field that users may write is dropped on the way in."""
    serve = parsed(sample("full"))

    proxy = "http://proxy.example.com:3128"
    assert serve.pull == api.Pull(
        strategy=api.Strategy.JOB,
        insecure=False,
        ca_bundle=api.CaBundle("company-ca", "bundle.pem"),
        proxy=api.Proxy(proxy, proxy, "registry.example.com,10.0.0.0/8"),
        retries=10,
        resources={"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "2Gi"}},
    )
    assert serve.models[-1].create == api.Create(
        "llama2:7b",
        "You answer questions about the intranet, briefly.",
        "{{ .System }} {{ .Prompt }}",
        {"temperature": 0.2, "num_ctx": 8192, "stop": ["<end>"]},
    )
    assert serve.storage == api.Persistent(
        "100Gi", "shared", api.AccessMode.READ_WRITE_MANY, api.WhenDeleted.RETAIN
    )
    assert serve.ollama == api.Ollama("30m", 8192, 4, 2, 256, True, "q8_0", "10m")
    assert serve.image.pull_secrets == ("registry-credentials",)
    assert [token.key for token in serve.auth.tokens] == ["AUTH_TOKEN", "ADMIN_TOKEN"]
    assert serve.service.load_balancer_class == "example.com/internal"
    assert serve.scheduling.node_selector == {"accelerator": "a100"}
    assert serve.auth.tokens[0] == api.Token("AUTH_TOKEN", api.Access.INFER, ("helpdesk",))
    assert [(key.name, key.models) for key in serve.auth.authorized_keys] == [
        ("ada", ("helpdesk", "llama2:7b"))
    ]
    assert serve.gate.limits == api.Limits(16777216, 64, 16, 128, 60, 600, 2048)
    assert serve.gate.upgrade_policy is api.UpgradePolicy.ALWAYS
    assert serve.ingress == api.Ingress(
        "llm.team-a.example.com",
        "nginx",
        api.Tls("llm-ingress-tls"),
        {"nginx.ingress.kubernetes.io/backend-protocol": "HTTPS"},
    )
    assert serve.http_route is not None
    assert serve.http_route.hostnames == ("llm.team-a.example.com",)
    assert (len(serve.network_policy.from_), len(serve.network_policy.egress)) == (1, 1)
    assert serve.pod_disruption_budget == api.PodDisruptionBudget(True, "50%")
    assert serve.monitoring.pod_monitor.labels == {"release": "prometheus"}
    assert [patch.type for patch in serve.patches] == [api.PatchType.MERGE, api.PatchType.JSON]


def test_retry_annotation_is_read() -> None:
    """`ollamaserve.dev/retry` is part of what is asked for."""
    body = resource()
    body["metadata"]["annotations"] = {api.RETRY: "1"}

    assert parsed(body).retry == "1"


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"models": []}, "spec.models is empty"),
        ({"models": [{"name": "x"}, {"name": "X:latest"}]}, "x and X:latest, which are one model"),
        ({"replicas": 2}, "spec.replicas is 2 on a ReadWriteOnce volume"),
        ({"storage": {}}, "exactly one of persistent, existingClaim and ephemeral"),
        ({"storage": {"persistent": {}, "ephemeral": {}}}, "exactly one"),
        ({"env": [{"name": "OLLAMA_HOST"}]}, "spec.env sets OLLAMA_HOST"),
        ({"gpu": {"cuont": 1}}, "cuont"),
        ({"auth": {"tokens": [{"key": "A", "access": "root"}]}}, "root"),
        ({"storage": {"persistent": {"accessMode": "ReadOnlyMany"}}}, "ReadOnlyMany"),
        (
            {"models": [{"name": "a", "digest": "sha256:1", "create": {"from": "b"}}]},
            "a with create and digest: remove digest",
        ),
        ({"models": [{"name": "a", "create": {"from": "A:latest"}}]}, "created from itself"),
        (
            {
                "models": [
                    {"name": "a", "create": {"from": "b", "parameters": {"s": "x" * 120_000}}}
                ]
            },
            "120000 at most: shorten create.system",
        ),
        (
            {"replicas": 2, "storage": {"existingClaim": {"name": "a"}}},
            "say so with updateStrategy: RollingUpdate",
        ),
        ({"updateStrategy": "RollingUpdate"}, "leave it at Auto"),
        (
            {"storage": {"ephemeral": {}}, "pull": {"strategy": "Job"}},
            "spec.pull.strategy is Job with ephemeral storage",
        ),
        (
            {
                "replicas": 2,
                "storage": {"persistent": {"accessMode": "ReadWriteMany"}},
                "pull": {"strategy": "InPod"},
            },
            "would write the same files",
        ),
        (
            {"pull": {"proxy": {"https": "http://p:1"}}, "env": [{"name": "HTTPS_PROXY"}]},
            "spec.env sets HTTPS_PROXY, and spec.pull.proxy is there too",
        ),
        (
            {"pull": {"caBundle": {"name": "a"}}, "env": [{"name": "SSL_CERT_DIR"}]},
            "spec.env sets SSL_CERT_DIR",
        ),
        (
            {"auth": {"tokens": [{"key": "A", "access": "manage", "models": ["a"]}]}},
            "spec.auth.tokens (A) has models and the access manage",
        ),
        (
            {"auth": {"authorizedKeys": [{"name": "AUTH_TOKEN", "key": "ssh-ed25519 A"}]}},
            "AUTH_TOKEN as a token and as a key",
        ),
        (
            {"auth": {"authorizedKeys": [{"name": "ada", "key": "k", "access": "full"}]}},
            "the access full without TLS: set spec.gate.tls.secretName",
        ),
        (
            {"patches": [{"target": "Job", "type": "json", "patch": {}}]},
            "spec.patches[0].patch is no json patch: write a list of operations",
        ),
        (
            {"patches": [{"target": "Job", "type": "merge", "patch": []}]},
            "spec.patches[0].patch is no merge patch: write an object",
        ),
    ],
)
def test_what_cannot_be_served_is_a_value(spec: dict[str, Any], words: str) -> None:
    """An object older than today's CRD is refused by name, value and remedy; nothing raises."""
    invalid = api.parse(resource(**spec))

    assert isinstance(invalid, api.Invalid)
    assert words in "; ".join(invalid.errors)
    assert invalid.identity.name == "llama"


@given(spec=st.dictionaries(st.sampled_from(sorted(sample("full")["spec"])), JSON))
def test_parse_never_raises(spec: dict[str, Any]) -> None:
    """Whatever the spec holds, the answer is a value."""
    assert isinstance(api.parse(resource(**spec)), api.OllamaServe | api.Invalid)


@pytest.mark.parametrize("suspend", [True, False])
def test_suspended_runs_nothing(suspend: bool) -> None:
    """`suspend` wins over replicas and doesn't change them."""
    serve = parsed(resource(suspend=suspend))

    assert serve.replicas == 1
    assert serve.running_replicas == (0 if suspend else 1)
