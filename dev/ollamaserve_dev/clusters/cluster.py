"""The interface of every provider, and what it gives."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster that is up: every node Ready, its DNS and default StorageClass there."""

    name: str
    kubeconfig: Path
    load_image: Callable[..., None]
    """Bring images (their references) of the local container engine to every node."""


class Provider(Protocol):
    """All of them take a cluster that is up already for up, and one that isn't there for down."""

    @property
    def kubeconfig(self) -> Path: ...

    def up(self) -> Cluster: ...

    def down(self) -> None: ...

    def load_image(self, *images: str) -> None: ...
