"""Names and digests compare as Ollama compares them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollamaserve_sidecar.models import canonical, digest_matches, prefixed

part = st.text("abcdefghijklmnopqrstuvwxyz0123456789_-.", min_size=1, max_size=12)
DIGEST = "13ac37b014f83ec117374d259b5af973ef3da360612d186634047b97319835f1"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("llama2", "registry.ollama.ai/library/llama2:latest"),
        ("llama2:latest", "registry.ollama.ai/library/llama2:latest"),
        ("library/llama2", "registry.ollama.ai/library/llama2:latest"),
        ("registry.ollama.ai/library/llama2", "registry.ollama.ai/library/llama2:latest"),
        ("https://registry.ollama.ai/library/llama2", "registry.ollama.ai/library/llama2:latest"),
        ("Llama2:7B", "registry.ollama.ai/library/llama2:7b"),
        ("someone/llama2:7b", "registry.ollama.ai/someone/llama2:7b"),
        ("http://127.0.0.1:5000/library/tiny", "127.0.0.1:5000/library/tiny:latest"),
        ("127.0.0.1:5000/library/tiny:v1", "127.0.0.1:5000/library/tiny:v1"),
        ("hf.co/someone/Model-GGUF:Q4_K_M", "hf.co/someone/model-gguf:q4_k_m"),
    ],
)
def test_spellings_of_one_model_meet(name: str, expected: str) -> None:
    """G11: a name is completed and compared as in Ollama's types/model/name.go."""
    assert expected == canonical(name)


@given(part, part, part, part)
def test_a_canonical_name_stays_as_it_is(host: str, namespace: str, model: str, tag: str) -> None:
    """Canonical names are canonical, and no part of a full name is lost."""
    name = f"{host}/{namespace}/{model}:{tag}"

    assert name == canonical(name) == canonical(canonical(name))


def test_no_pin_takes_any_digest_and_a_pin_only_its_own() -> None:
    """The prefix sha256: and the case of the digits make no difference."""
    assert digest_matches("", DIGEST)
    assert digest_matches(f"sha256:{DIGEST}", DIGEST.upper())
    assert digest_matches(DIGEST, DIGEST)
    assert not digest_matches(DIGEST, "0" * 64)
    assert not digest_matches(DIGEST, "")


def test_the_status_shows_digests_with_their_algorithm() -> None:
    """Ollama's bare digits become sha256:digits; nothing stays nothing."""
    assert f"sha256:{DIGEST}" == prefixed(DIGEST) == prefixed(f"sha256:{DIGEST}")
    assert prefixed("") == ""
