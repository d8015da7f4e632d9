"""How far a pull has come, from the lines of Ollama's `/api/pull`. Pure; any room may enter.

Ollama fetches one layer after the other and names a layer's size only when it begins, takes bytes
back when a part fails, and starts its count anew on every attempt. People watch this number:
so it counts bytes over all layers seen, never falls, and says 100 only after the final success.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_ALMOST, _DONE = 99, 100
_REGISTRY = "pulling "
"""How the lines begin that wait for the registry; others tell of Ollama's own work."""


@dataclass(slots=True)
class Progress:
    """The percentage of one model, over all attempts to pull it.

    `awaited` changes with every byte that the registry delivers, though lines come all the time;
    it is None while nothing of the registry is being waited for.
    """

    percent: int = 0
    succeeded: bool = False
    awaited: tuple[str, int] | None = None
    _layers: dict[str, tuple[int, int]] = field(default_factory=dict)
    _done: int = 0
    _gains: int = 0

    def see(self, event: Mapping[str, Any]) -> None:
        """Take in one line: {"status", "digest"?, "total"?, "completed"?}, sizes in bytes."""
        status = str(event.get("status"))
        self.awaited = (status, self._gains) if status.startswith(_REGISTRY) else None
        if status == "success":
            self.percent, self.succeeded = _DONE, True
            return
        total, completed = event.get("total"), event.get("completed", 0)
        if not (_is_size(total) and _is_size(completed) and total):
            return
        self._layers[str(event.get("digest"))] = (min(completed, total), total)
        done = sum(layer[0] for layer in self._layers.values())
        size = sum(layer[1] for layer in self._layers.values())
        self.percent = max(self.percent, min(_ALMOST, done * 100 // size))
        self._gains += done > self._done
        self._done = done
        if self.awaited:
            self.awaited = (status, self._gains)


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
