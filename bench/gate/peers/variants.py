"""The gate in two forms that no pod has: `bare`, and with everything but on asyncio's own loop.

Run by itself: `variants.py bare|asyncio`, configured by the environment as the gate is.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING

import uvloop

from ollamaserve_sidecar import config, reload, serve
from ollamaserve_sidecar.__main__ import collect_seldom
from ollamaserve_sidecar.gate import Gate

if TYPE_CHECKING:
    from ollamaserve_sidecar.meter import Meter
    from ollamaserve_sidecar.record import Record


class Nothing:
    """No drain, no ledger: authentication and policy are what is left."""

    draining = False

    def entered(self) -> None: ...

    def left(self) -> None: ...

    def meter(self, route: str) -> None: ...

    def close(self, record: Record, meter: Meter | None = None) -> None: ...

    def upstream_failed(self, kind: str) -> None: ...


async def bare() -> None:
    parsed = config.load(os.environ)
    nothing = Nothing()
    await Gate(parsed, reload.Live(parsed), nothing, nothing).start()
    await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    collect_seldom()
    if sys.argv[1] == "bare":
        uvloop.run(bare())
    else:
        sys.exit(asyncio.run(serve.command(os.environ)))
