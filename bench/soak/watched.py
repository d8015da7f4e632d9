"""The gate as `serve` runs it, which tells on SIGUSR1 how many objects and tasks it has.

A program of the soak's own, so that the gate needs no such door: `python watched.py FILE`.
"""

from __future__ import annotations

import asyncio
import gc
import json
import signal
import sys
from pathlib import Path

from ollamaserve_sidecar.__main__ import main


def tell(_: int, __: object) -> None:
    """A whole file at once; counted after a collection, so that only what is held counts."""
    gc.collect()
    told = {"objects": len(gc.get_objects()), "tasks": len(asyncio.all_tasks())}
    new = TARGET.with_suffix(".new")
    new.write_text(json.dumps(told))
    new.rename(TARGET)


if __name__ == "__main__":
    TARGET = Path(sys.argv[1])
    signal.signal(signal.SIGUSR1, tell)
    sys.exit(main(["serve"]))
