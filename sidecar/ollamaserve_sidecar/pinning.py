"""Under a pinned name there is never another model than the pinned one, or what was there before.

Ollama pulls by tag and can't be told a digest beforehand: what a moved tag brought is known only
once it stands under the name, on a volume that pods may be serving from. So what stood there is
kept under a name beside it meanwhile, and put back. `attempt` enters.
"""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from ollamaserve_sidecar.models import canonical, digest_matches
from ollamaserve_sidecar.ollama import OllamaRefusedError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from ollamaserve_sidecar.config import ExpectedModel
    from ollamaserve_sidecar.ollama import Ollama

KEPT = "-before-pull"
LONGEST_TAG = 80
"""Characters, of Ollama (types/model/name.go, `isValidLen`)."""


@asynccontextmanager
async def pinned(ollama: Ollama, model: ExpectedModel) -> AsyncGenerator[None]:
    """Pull inside; afterwards the name has its digest, or what it had, or nothing."""
    if not model.digest:
        yield
        return
    there = await ollama.installed()
    name, kept = canonical(model.name), _kept(model.name)
    if name in there and kept not in there:  # there already: a pull was killed in the middle
        await ollama.copy(model.name, kept)
    yield
    there = await ollama.installed()
    found, before = there.get(name), there.get(kept)
    another = found is not None and (before is None or before.digest != found.digest)
    if found and another and not digest_matches(model.digest, found.digest):
        await ollama.delete(model.name)
        if before:
            await ollama.copy(kept, model.name)
    if before:
        with suppress(OllamaRefusedError):
            await ollama.delete(kept)


def _kept(name: str) -> str:
    path, _, tag = canonical(name).rpartition(":")
    return f"{path}:{tag[: LONGEST_TAG - len(KEPT)]}{KEPT}"
