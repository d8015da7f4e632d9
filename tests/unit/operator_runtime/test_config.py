"""The operator's configuration: complete, or one line that says what to set."""

import pytest

from ollamaserve_operator import config
from ollamaserve_operator.config import Config, ConfigError

IMAGES = {"GATE_IMAGE": "gate:1", "OLLAMA_IMAGE": "ollama:1", "OLLAMA_ROCM_IMAGE": "ollama:1-rocm"}


def test_the_images_are_enough() -> None:
    """Everything else has a default: all namespaces, every address on 8080."""
    assert config.read(IMAGES) == Config("gate:1", "ollama:1", "ollama:1-rocm")


def test_every_variable_arrives() -> None:
    """docs/architecture.md, "Images and their environment"."""
    more = {
        "WATCH_NAMESPACE": "team-a, team-b,team-a",
        "POD_NAMESPACE": "operators",
        "KUBERNETES_SERVICE_HOST": "fd00::1",
        "KUBERNETES_SERVICE_PORT": "6443",
        "OPERATOR_LISTEN": "[::1]:9000",
    }
    expected = Config(
        *("gate:1", "ollama:1", "ollama:1-rocm", ("team-a", "team-b"), "operators"),
        *("https://[fd00::1]:6443", "::1", 9000),
    )
    assert config.read(IMAGES | more) == expected


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"GATE_IMAGE": ""}, "GATE_IMAGE is not set: set it to an image"),
        ({"OLLAMA_IMAGE": "  "}, "OLLAMA_IMAGE is not set"),
        ({"OLLAMA_ROCM_IMAGE": "a b"}, "OLLAMA_ROCM_IMAGE is 'a b'"),
        ({"WATCH_NAMESPACE": "team-a Team-B"}, "WATCH_NAMESPACE has 'team-a Team-B': write names"),
        ({"OPERATOR_LISTEN": "8080"}, "OPERATOR_LISTEN is '8080': write host:port"),
        ({"OPERATOR_LISTEN": ":x"}, "OPERATOR_LISTEN is ':x'"),
        ({"OPERATOR_LISTEN": ":70000"}, "OPERATOR_LISTEN is ':70000'"),
    ],
)
def test_what_is_wrong_is_named_with_its_remedy(change: dict[str, str], words: str) -> None:
    """One line, no traceback."""
    with pytest.raises(ConfigError, match=words) as caught:
        config.read(IMAGES | change)
    assert "\n" not in str(caught.value)
