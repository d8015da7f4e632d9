"""The objects that a resource wants, as plain manifests in the order in which they are applied.

Pure: one file per kind, named after it. A builder writes only the fields it has an opinion on.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ollamaserve_operator.api import OllamaServe
from ollamaserve_operator.observed import Observed

Manifest = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Images:
    """The images that this release of the operator brings."""

    gate: str
    ollama: str
    ollama_rocm: str


def children(serve: OllamaServe, images: Images, observed: Observed) -> tuple[Manifest, ...]:
    raise NotImplementedError
