"""Whole manifests, reviewed as YAML in tests/unit/golden.

To write them anew after a wanted change, and then review the difference:
GOLDEN=write python -m pytest tests/unit/operator/test_golden.py
"""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from examples import resource, sample
from rendered import Rendered

GOLDEN = Path(__file__).parent.parent / "golden"

CASES: dict[str, dict[str, Any]] = {
    "minimal": sample("minimal"),
    "cpu": sample("cpu"),
    "full": sample("full"),
    "production": sample("production"),
    "ephemeral": sample("ephemeral"),
    "amd": resource(gpu={"resource": "amd.com/gpu", "supplementalGroups": [44, 109]}),
    "in-pod": resource(
        storage={"existingClaim": {"name": "models", "subPath": "team-a"}},
        pull={
            "strategy": "InPod",
            "caBundle": {"name": "company-ca"},
            "proxy": {"https": "http://proxy.example.com:3128", "no": "registry.example.com"},
        },
    ),
    "suspended": resource(suspend=True),
}


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's signature
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    """Several lines as several lines."""
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def rendered(body: dict[str, Any]) -> str:
    """All children once the claim is there, in the order in which they are applied."""
    return yaml.dump_all(
        Rendered(body).manifests, Dumper=_Dumper, sort_keys=False, width=110, explicit_start=True
    )


@pytest.mark.parametrize("name", CASES)
def test_manifests_are_as_reviewed(name: str) -> None:
    """A change of any manifest shows up as a difference in a file that people read."""
    path = GOLDEN / f"{name}.yaml"
    text = rendered(CASES[name])
    if os.environ.get("GOLDEN") == "write":
        path.write_text(text)

    assert path.read_text() == text


def test_every_golden_file_is_compared() -> None:
    """No file is left over from a case that is gone."""
    assert {path.stem for path in GOLDEN.glob("*.yaml")} == set(CASES)
