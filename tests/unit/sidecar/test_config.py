"""The environment and GATE_CONFIG: what is read, and what is refused with a remedy."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollamaserve_sidecar.config import (
    Address,
    ConfigError,
    Creation,
    ExpectedModel,
    GateConfig,
    PullConfig,
    Upstream,
    gate_config,
    load,
)
from ollamaserve_sidecar.identities import need_tls
from ollamaserve_sidecar.policy import Access
from ollamaserve_sidecar.tokens import Identity

# A key of 32 zero bytes, as OpenSSH writes it (RFC 8709, 4).
LINE = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + "A" * 43
ADA = {"name": "ada", "key": LINE}
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


def test_defaults() -> None:
    """docs/architecture.md, "The gate's configuration"."""
    config = load({})

    assert config.listen == Address(None, 7860)
    assert config.status_listen == Address("127.0.0.1", 7861)
    assert config.upstream == Upstream("127.0.0.1", 11434)
    assert config.upstream.authority == "127.0.0.1:11434"
    assert config.drain_timeout == 120
    assert (config.auth_token, config.tokens_dir, config.gate_config) == (None, None, None)


def test_every_variable_counts() -> None:
    config = load(
        {
            "AUTH_TOKEN": "the-token",
            "GATE_TOKENS_DIR": "/tokens",
            "GATE_CONFIG": "/config/gate.json",
            "GATE_LISTEN": "[::1]:1",
            "GATE_STATUS_LISTEN": ":2",
            "GATE_UPSTREAM": "http://[::1]:3/",
            "GATE_DRAIN_TIMEOUT": "4.5",
        }
    )

    assert (config.listen, config.status_listen) == (Address("::1", 1), Address(None, 2))
    assert config.upstream.authority == "[::1]:3"
    assert config.drain_timeout == 4.5
    assert (config.tokens_dir, config.gate_config) == (Path("/tokens"), Path("/config/gate.json"))
    assert "the-token" not in repr(config)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GATE_LISTEN", "7860"),
        ("GATE_LISTEN", ":http"),
        ("GATE_LISTEN", ":65536"),
        ("GATE_LISTEN", ":-1"),
        ("GATE_STATUS_LISTEN", "localhost"),
        ("GATE_UPSTREAM", "127.0.0.1:11434"),
        ("GATE_UPSTREAM", "https://ollama.com"),
        ("GATE_UPSTREAM", "http://host/path"),
        ("GATE_UPSTREAM", "http://user@host"),
        ("GATE_UPSTREAM", "http://host:port"),
        ("GATE_DRAIN_TIMEOUT", "soon"),
        ("GATE_DRAIN_TIMEOUT", "-1"),
        ("GATE_DRAIN_TIMEOUT", "inf"),
        ("GATE_DRAIN_TIMEOUT", "nan"),
    ],
)
def test_wrong_variables_are_named(name: str, value: str) -> None:
    """One line with the variable, its value and what to write instead."""
    with pytest.raises(ConfigError, match=": write ") as error:
        load({name: value})

    assert name in str(error.value)
    assert repr(value) in str(error.value)
    assert "\n" not in str(error.value)


def test_gate_config_in_full() -> None:
    """The document of docs/architecture.md."""
    digest = "a" * 64
    document = {
        "tokens": {"AUTH_TOKEN": {"access": "infer"}},
        "models": [
            {"name": "llama2:7b", "digest": f"sha256:{digest}", "warm": True},
            {
                "name": "b",
                "create": {"from": "llama2:7b", "system": "s", "parameters": {"seed": 1}},
            },
        ],
        "requireAcceleration": True,
        "pull": {"insecure": False, "retry": "1"},
    }

    assert gate_config(document) == GateConfig(
        tokens={"AUTH_TOKEN": Identity("AUTH_TOKEN", Access.INFER)},
        models=(
            ExpectedModel("llama2:7b", digest, warm=True),
            ExpectedModel("b", create=Creation("llama2:7b", "s", parameters={"seed": 1})),
        ),
        require_acceleration=True,
        pull=PullConfig(insecure=False, retry="1"),
    )
    assert gate_config({}) == GateConfig(tokens={})


@pytest.mark.parametrize(
    ("document", "named"),
    [
        ([], "GATE_CONFIG"),
        ({"token": {}}, "token"),
        ({"tokens": []}, "GATE_CONFIG.tokens"),
        ({"tokens": {"A": "infer"}}, "tokens.A"),
        ({"tokens": {"A": {}}}, "tokens.A.access"),
        ({"tokens": {"A": {"access": "root"}}}, "tokens.A.access"),
        ({"tokens": {"A": {"access": "infer", "models": []}}}, "tokens.A.models"),
        ({"tokens": {"A": {"access": "infer", "models": "a"}}}, "tokens.A.models"),
        ({"tokens": {"A": {"access": "infer", "models": [5]}}}, "tokens.A.models"),
        ({"tokens": {"A": {"access": "infer", "models": ["a", "b@c"]}}}, "tokens.A.models"),
        ({"tokens": {"A": {"access": "manage", "models": ["a"]}}}, "tokens.A"),
        ({"tokens": {"A": {"access": "infer", "model": ["a"]}}}, "model"),
        ({"authorizedKeys": {}}, "authorizedKeys"),
        ({"authorizedKeys": ["ssh-ed25519"]}, "authorizedKeys[0]"),
        ({"authorizedKeys": [{"key": LINE}]}, "authorizedKeys[0].name"),
        ({"authorizedKeys": [{"name": "ada"}]}, "authorizedKeys[0].key"),
        ({"authorizedKeys": [{"name": "ada", "key": "ssh-rsa AAAA"}]}, "authorizedKeys[0].key"),
        ({"authorizedKeys": [{"name": "a b", "key": LINE}]}, "authorizedKeys[0].name"),
        ({"authorizedKeys": [ADA | {"access": "root"}]}, "authorizedKeys[0].access"),
        ({"authorizedKeys": [ADA | {"models": []}]}, "authorizedKeys[0].models"),
        ({"authorizedKeys": [ADA | {"from": "x"}]}, "from"),
        ({"authorizedKeys": [ADA, ADA]}, "authorizedKeys[1] (ada)"),
        ({"authorizedKeys": [ADA, ADA | {"name": "bob"}]}, "authorizedKeys[1] (bob)"),
        ({"authorizedKeys": [ADA], "tokens": {"ada": {"access": "infer"}}}, "(ada)"),
        ({"tokens": {"A_PREVIOUS": {"access": "infer"}}}, "A_PREVIOUS"),
        ({"tokens": {"A_NEXT": {"access": "infer"}}}, "A_NEXT"),
        ({"tokens": {"a/b": {"access": "infer"}}}, "a/b"),
        ({"tokens": {"": {"access": "infer"}}}, "''"),
        ({"tokens": {"a" * 64: {"access": "infer"}}}, "aaa"),
        ({"models": {}}, "models"),
        ({"models": [{}]}, "models[0].name"),
        ({"models": [{"name": 5}]}, "models[0].name"),
        ({"models": [{"name": "a", "digest": "sha256:0"}]}, "models[0].digest"),
        ({"models": [{"name": "a", "warm": 1}]}, "models[0].warm"),
        ({"models": [{"name": "a", "size": 1}]}, "size"),
        ({"models": [{"name": "a", "create": {}}]}, "models[0].create.from"),
        ({"models": [{"name": "a", "create": {"from": "b", "x": 1}}]}, "models[0].create"),
        ({"models": [{"name": "a", "create": {"from": "b", "system": 1}}]}, "create.system"),
        ({"pull": {"retry": 1}}, "pull.retry"),
        ({"requireAcceleration": "true"}, "requireAcceleration"),
        ({"pull": True}, "pull"),
        ({"pull": {"insecure": "no"}}, "pull.insecure"),
        ({"pull": {"retries": 1}}, "retries"),
    ],
)
def test_wrong_documents_are_named(document: Any, named: str) -> None:
    """Unknown keys and wrong types are refused, with the field's path."""
    with pytest.raises(ConfigError) as error:
        gate_config(document)

    assert named in str(error.value)


def test_authorized_keys() -> None:
    """G4: a key's access is `infer` where none is written; G11: models are kept canonical."""
    parsed = gate_config({"authorizedKeys": [ADA | {"models": ["Llama2", "http://h/a/b:c"]}]})
    models = frozenset({"registry.ollama.ai/library/llama2:latest", "h/a/b:c"})

    assert parsed.authorized_keys == {bytes(32): Identity("ada", Access.INFER, models)}
    need_tls(parsed.authorized_keys, tls=False)


@pytest.mark.parametrize("access", Access)
def test_keys_that_may_more_need_tls(access: Access) -> None:
    """G4: a signature covers no body, so on an open wire it is for inference alone."""
    parsed = gate_config({"authorizedKeys": [ADA | {"access": access}]})
    need_tls(parsed.authorized_keys, tls=True)
    if access in (Access.MANAGE, Access.FULL):
        with pytest.raises(ConfigError, match=f"ada has the access {access}.*TLS"):
            need_tls(parsed.authorized_keys, tls=False)
    else:
        need_tls(parsed.authorized_keys, tls=False)


def test_a_key_that_is_refused_is_not_repeated() -> None:
    """Somebody may have written the private one."""
    with pytest.raises(ConfigError) as error:
        gate_config({"authorizedKeys": [{"name": "ada", "key": "-----BEGIN secret"}]})

    assert "secret" not in str(error.value)


@given(json_values)
def test_any_json_is_parsed_or_refused(document: Any) -> None:
    """No document raises anything but ConfigError."""
    assert json.dumps(document)
    with suppress(ConfigError):
        assert isinstance(gate_config(document), GateConfig)
