"""The cache folder, outside the checkout: all that is installed or built lands here.

An entry is a folder whose name carries its version; it is complete or absent, never half made, and
two processes that want the same entry make it once.
"""

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

CHECKOUT = Path(__file__).parents[2]


def root() -> Path:
    """`$OLLAMASERVE_CACHE`, or ~/.cache/ollamaserve."""
    chosen = os.environ.get("OLLAMASERVE_CACHE")
    folder = Path(chosen) if chosen else Path.home() / ".cache" / "ollamaserve"
    folder.mkdir(parents=True, exist_ok=True)
    return folder.resolve()


@contextmanager
def locked(name: str, *, shared: bool = False) -> Iterator[None]:
    """Hold the cache's lock `name` against other processes, or against its sole holders only."""
    with _lock(name) as lock:
        fcntl.flock(lock, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield


@contextmanager
def locked_if_free(name: str) -> Iterator[bool]:
    """Hold the lock `name` alone if nobody holds it; gives whether it is held."""
    with _lock(name) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _lock(name: str) -> IO[str]:
    folder = root() / "locks"
    folder.mkdir(exist_ok=True)
    return (folder / name).open("w")


def entry(kind: str, name: str, make: Callable[[Path], None]) -> Path:
    """The folder `<cache>/<kind>/<name>`; `make` fills an empty one if it isn't there yet."""
    folder = root() / kind / name
    if folder.exists():
        return folder
    with locked(f"{kind}-{name}"):
        if not folder.exists():
            folder.parent.mkdir(exist_ok=True)
            for interrupted in folder.parent.glob(f".{name}-*"):
                shutil.rmtree(interrupted)
            scratch = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=folder.parent))
            try:
                scratch.chmod(0o755)
                make(scratch)
                scratch.rename(folder)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
    return folder


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder for the time of the block, on the same file system as the entries."""
    folder = root() / "scratch"
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as name:
        yield Path(name)


def fingerprint(*inputs: str | Path) -> str:
    """Twelve hex digits that change with any text, file or folder given (names and contents)."""
    digest = hashlib.sha256()
    for item in inputs:
        if isinstance(item, str):
            _add(digest, "text", item.encode())
            continue
        for file in _files(item):
            _add(digest, str(file.relative_to(item.parent)), file.read_bytes())
    return digest.hexdigest()[:12]


def _add(digest: "hashlib._Hash", name: str, content: bytes) -> None:
    digest.update(f"{name}\0{len(content)}\0".encode())
    digest.update(content)


def _files(path: Path) -> Iterable[Path]:
    if path.is_file():
        return [path]
    return sorted(f for f in path.rglob("*") if f.is_file() and "__pycache__" not in f.parts)
