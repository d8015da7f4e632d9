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


def test_first_model_is_warm_unless_said_otherwise() -> None:
    """`warm` defaults to true for the first model only, and is obeyed where it is written."""
    models = [{"name": "a"}, {"name": "b"}, {"name": "c", "warm": True}]
    first, second, third = parsed(resource(models=models)).models
    (cold,) = parsed(resource(models=[{"name": "a", "warm": False}])).models

    assert (first.warm, second.warm, third.warm, cold.warm) == (True, False, True, False)


def test_every_field_of_the_full_sample_is_read() -> None:
    """No field that users may write is dropped on the way in."""
    serve = parsed(sample("full"))

    assert serve.pull == api.Pull(
        insecure=False,
        retries=10,
        resources={"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "2Gi"}},
    )
    assert serve.storage == api.Persistent(
        "100Gi", "shared", api.AccessMode.READ_WRITE_MANY, api.WhenDeleted.RETAIN
    )
    assert serve.ollama == api.Ollama("30m", 8192, 4, 2, 256, True, "q8_0", "10m")
    assert serve.image.pull_secrets == ("registry-credentials",)
    assert [token.key for token in serve.auth.tokens] == ["AUTH_TOKEN", "ADMIN_TOKEN"]
    assert serve.service.load_balancer_class == "example.com/internal"
    assert serve.scheduling.node_selector == {"accelerator": "a100"}


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
        ({"storage": {}}, "exactly one of persistent and ephemeral"),
        ({"storage": {"persistent": {}, "ephemeral": {}}}, "exactly one"),
        ({"env": [{"name": "OLLAMA_HOST"}]}, "spec.env sets OLLAMA_HOST"),
        ({"gpu": {"cuont": 1}}, "cuont"),
        ({"auth": {"tokens": [{"key": "A", "access": "root"}]}}, "root"),
        ({"storage": {"persistent": {"accessMode": "ReadOnlyMany"}}}, "ReadOnlyMany"),
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
