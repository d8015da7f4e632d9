"""What GATE_CONFIG and the environment say of the door: TLS, limits, pages, health, egress."""

from pathlib import Path
from typing import Any

import pytest

from ollamaserve_sidecar import config
from ollamaserve_sidecar.config import ConfigError, KeyPair
from ollamaserve_sidecar.cors import Cors
from ollamaserve_sidecar.limits import Limits
from ollamaserve_sidecar.policy import INFERENCE, OUTBOUND, TABLE


def parsed(**keys: Any) -> config.GateConfig:
    return config.gate_config({"tokens": {"AUTH_TOKEN": {"access": "infer"}}, **keys})


def test_defaults() -> None:
    """Nothing is open that wasn't asked for, and the limits are those of G12."""
    plain = parsed()

    assert (plain.limits, plain.cors, plain.health_path, plain.egress) == (
        Limits(),
        Cors(),
        None,
        True,
    )
    assert config.load({}).key_pair is None


def test_each_block_is_read() -> None:
    """A key of GATE_CONFIG ends up in its own field."""
    full = parsed(
        limits={"queue": 1}, cors={"allowedOrigins": ["*"]}, healthPath="/healthz", egress=False
    )

    assert (full.limits.queue, full.cors.origins) == (1, frozenset({b"*"}))
    assert (full.health_path, full.egress) == ("/healthz", False)


@pytest.mark.parametrize(
    "path", ["", "healthz", "/a b", "/a?b", "/a#b", "/a\\b", "/café", "/api/tags", "/v1/models"]
)
def test_health_paths_that_are_refused(path: str) -> None:
    """G15: what no prober sends, and what would stand in the place of one of Ollama's routes."""
    with pytest.raises(ConfigError, match=r"healthPath is .*: write a path such as / or /healthz"):
        parsed(healthPath=path)


def test_a_certificate_needs_its_key() -> None:
    """G7: both or neither; the error names the one that is missing."""
    both = config.load({"GATE_TLS_CERT": "/tls/tls.crt", "GATE_TLS_KEY": "/tls/tls.key"})
    assert both.key_pair == KeyPair(Path("/tls/tls.crt"), Path("/tls/tls.key"))
    with pytest.raises(ConfigError, match="GATE_TLS_CERT is set and GATE_TLS_KEY isn't: set both"):
        config.load({"GATE_TLS_CERT": "/tls/tls.crt"})
    with pytest.raises(ConfigError, match="GATE_TLS_KEY is set and GATE_TLS_CERT isn't: set both"):
        config.load({"GATE_TLS_KEY": "/tls/tls.key", "GATE_TLS_CERT": ""})


def test_the_routes_that_take_slots_and_need_egress() -> None:
    """G12, decision 12: these are labels of the policy's table."""
    routes = {word for lines in TABLE.values() for word in lines.split() if word[0] == "/"}

    assert routes >= INFERENCE | OUTBOUND
    assert {"/api/chat", "/api/generate", "/v1/messages", "/api/embed"} <= INFERENCE
    assert {"/api/pull", "/api/push", "/api/me"} <= OUTBOUND
    assert not INFERENCE & OUTBOUND
    assert not {"/api/tags", "/api/ps", "/api/show", "/v1/models"} & (INFERENCE | OUTBOUND)
