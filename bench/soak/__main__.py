"""`python -m bench.soak --minutes 60`: 500 clients for an hour; memory and descriptors stay flat.

Writes docs/benchmarks/soak.json, soak.md and soak.svg (`--out` for another folder) each minute, so
that a soak that is cut short has said what it saw; `--render` makes page and plot anew. The exit
status is 1 where something grew or a visit ended as it shouldn't.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import uvloop

from bench.soak import page, rig, samples
from bench.soak.crowd import Crowd
from bench.soak.lives import Place

WARM_UP = 0.25
"""The share of the time before the line is fitted; buffers, pools and caches fill in it."""
FEWEST = 3


async def soaked(minutes: float, every: float, out: Path) -> page.Result:
    """Run it all, and write what was seen so far after every sample; SIGTERM ends it all."""
    task = asyncio.current_task()
    if task:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    with tempfile.TemporaryDirectory(prefix="soak-") as folder, rig.opened(Path(folder)) as open_:
        crowd = Crowd(Place(open_.door, open_.trusting()))
        coming = asyncio.create_task(crowd.come())
        try:
            return await _watched(open_, crowd, minutes, every, out)
        finally:
            coming.cancel()
            with suppress(asyncio.CancelledError):
                await coming


async def _watched(
    open_: rig.Rig, crowd: Crowd, minutes: float, every: float, out: Path
) -> page.Result:
    seen: list[samples.Sample] = []
    begun = time.monotonic()
    while not seen or time.monotonic() - begun < minutes * 60:
        await asyncio.sleep(every)
        open_.rotate()
        errors = sum(crowd.errors.values())
        seen.append(await samples.look(open_, begun, sum(crowd.ends.values()), errors))
        print(seen[-1], crowd.errors or "", flush=True)
        found = page.result(seen, crowd, minutes * WARM_UP)
        if len([sample for sample in seen if sample.minute >= found.warm_up]) >= FEWEST:
            page.write(found, out)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--every", type=float, default=60, help="seconds between samples")
    parser.add_argument("--out", type=Path, default=page.FOLDER)
    parser.add_argument("--render", action="store_true", help="only make page and plot anew")
    chosen = parser.parse_args()
    if chosen.render:
        found = page.read(chosen.out)
        page.write(found, chosen.out)
    else:
        found = uvloop.run(soaked(chosen.minutes, chosen.every, chosen.out))
    from bench.soak import plot  # noqa: PLC0415 matplotlib takes a second, and only the end needs it

    plot.draw(found, chosen.out)
    print(page.text(found))
    return 0 if found.flat else 1


if __name__ == "__main__":
    sys.exit(main())
