"""The hot path is compiled for the images: what ships has to pass what its source passes."""

import os
import subprocess
import sys

from ollamaserve_dev import cache, compiled

IMPORTED = f"""
import importlib
for room in {compiled.ROOMS!r}:
    print(importlib.import_module(room.removesuffix(".py").replace("/", ".")).__file__)
"""


def test_all_that_is_named_is_compiled() -> None:
    """None of it is run by the interpreter for want of its compiled form."""
    words = (sys.executable, "-c", IMPORTED)
    environ = os.environ | {"PYTHONPATH": str(compiled.folder())}
    found = subprocess.run(words, env=environ, capture_output=True, text=True, check=True)

    files = found.stdout.split()
    assert len(files) == len(compiled.ROOMS)
    assert all(file.startswith(str(compiled.folder())) for file in files)
    assert all(file.endswith(".so") for file in files)


def test_the_gate_that_ships_passes_the_gates_tests() -> None:
    """All of tests/component/gate again; its header says which gate it was."""
    path = f"pythonpath=operator {compiled.folder()} dev tests"
    words = (sys.executable, "-m", "pytest", f"--override-ini={path}", "tests/component/gate")
    done = subprocess.run(words, cwd=cache.CHECKOUT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout[-10_000:]
    assert f"gate: {compiled.folder()}/ollamaserve_sidecar/wire." in done.stdout
