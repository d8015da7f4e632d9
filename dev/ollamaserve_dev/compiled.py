"""The gate with its hot path as native code, for this interpreter: what the images have."""

import os
import shutil
import sys
import sysconfig
from pathlib import Path

from ollamaserve_dev import cache, debian, progress

SOURCE = cache.CHECKOUT / "sidecar"
ROOMS = tuple((SOURCE / "compiled.txt").read_text().split())


def folder() -> Path:
    """A folder for PYTHONPATH that has the compiled package, made once for each state of it."""
    lock = cache.CHECKOUT / "requirements/compile.txt"
    return cache.entry("compiled", cache.fingerprint(SOURCE, lock, sys.version), _compile)


def _compile(into: Path) -> None:
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        debian.need("compiling the gate", "gcc", "libc6-dev", "python3-dev")
    ignore = shutil.ignore_patterns("__pycache__")
    with progress.step("the gate's hot path, compiled"), cache.scratch() as scratch:
        shutil.copytree(SOURCE, scratch, ignore=ignore, dirs_exist_ok=True)
        mypyc = (sys.executable, "-m", "mypyc", "--strict", *ROOMS)
        env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        progress.run(mypyc, log="mypyc", cwd=scratch, env=env | {"MYPYC_DEBUG_LEVEL": "0"})
        for made in (scratch / "ollamaserve_sidecar", *scratch.glob("*.so")):
            shutil.move(made, into)
