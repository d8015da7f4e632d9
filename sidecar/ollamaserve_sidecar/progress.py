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


@dataclass(slots=True)
class Progress:
    """The percentage of one model, over all attempts to pull it."""

    percent: int = 0
    succeeded: bool = False
    _layers: dict[str, tuple[int, int]] = field(default_factory=dict)

    def see(self, event: Mapping[str, Any]) -> None:
        """Take in one line: {"status", "digest"?, "total"?, "completed"?}, sizes in bytes."""
        if event.get("status") == "success":
            self.percent, self.succeeded = _DONE, True
            return
        total, completed = event.get("total"), event.get("completed", 0)
        if not (_is_size(total) and _is_size(completed) and total):
            return
        self._layers[str(event.get("digest"))] = (min(completed, total), total)
        done = sum(layer[0] for layer in self._layers.values())
        size = sum(layer[1] for layer in self._layers.values())
        self.percent = max(self.percent, min(_ALMOST, done * 100 // size))


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
