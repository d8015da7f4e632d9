"""The lock files: compiled from the pyproject.toml files, checked for freshness in `make check`.

Requirements format, hashes included and no index address, so that any index can serve them.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

LOCKS = {
    "sidecar.txt": ["sidecar/pyproject.toml"],
    "compile.txt": ["sidecar/pyproject.toml", "--group=compile"],
    "operator.txt": ["operator/pyproject.toml"],
    "dev.txt": [
        "operator/pyproject.toml",
        "sidecar/pyproject.toml",
        "dev/pyproject.toml",
        "--group=check",
        "--group=test",
    ],
    "bench.txt": [
        "sidecar/pyproject.toml",
        "dev/pyproject.toml",
        "--group=bench",
        "--group=compile",
    ],
    "litellm.txt": ["--group=litellm"],
}


def compile_locks(folder: Path) -> None:
    """Compile each lock into `folder`; versions already pinned there are kept."""
    for name, inputs in LOCKS.items():
        subprocess.run(
            [
                *("uv", "pip", "compile", "--quiet", "--universal", "--generate-hashes"),
                # Extras stay: older pips take `coverage[toml]`, which a plugin asks for, for
                # another package than a pinned `coverage`, and refuses it for having no pin.
                *("--no-header", "--no-annotate", "--no-strip-extras", "--python-version=3.11"),
                *(f"--output-file={folder / name}", *inputs),
            ],
            check=True,
            stdout=subprocess.DEVNULL,
        )


def stale_locks(committed: Path) -> list[str]:
    """Names of the locks that no longer follow from the pyproject.toml files."""
    with tempfile.TemporaryDirectory() as scratch:
        fresh = Path(scratch)
        for name in LOCKS:
            (fresh / name).write_bytes((committed / name).read_bytes())
        compile_locks(fresh)
        return [n for n in LOCKS if (fresh / n).read_bytes() != (committed / n).read_bytes()]


def main() -> int:
    """`lock` writes the lock files; `lock --check` fails, naming the stale ones."""
    committed = Path("requirements")
    if "--check" not in sys.argv[1:]:
        compile_locks(committed)
        return 0
    stale = stale_locks(committed)
    for name in stale:
        print(f"requirements/{name} is stale: run `make lock` and commit the result")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
