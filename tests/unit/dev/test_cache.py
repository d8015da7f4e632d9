"""An entry of the cache is complete or absent, and is made once."""

import threading
from pathlib import Path

import pytest

from ollamaserve_dev import cache


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OLLAMASERVE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_an_entry_is_made_once() -> None:
    """The second caller gets what the first one made."""
    made = []

    def make(into: Path) -> None:
        made.append(into)
        (into / "tool").write_text("1")

    first = cache.entry("tools", "a-1", make)
    second = cache.entry("tools", "a-1", make)

    assert first == second
    assert (first / "tool").read_text() == "1"
    assert len(made) == 1


def test_an_interrupted_entry_is_absent_and_made_again(folder: Path) -> None:
    """What was half made isn't taken for complete, and nothing of it stays."""

    def interrupted(into: Path) -> None:
        (into / "half").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.entry("tools", "a-1", interrupted)
    assert list((folder / "tools").iterdir()) == []
    whole = cache.entry("tools", "a-1", lambda into: (into / "whole").touch())

    assert [f.name for f in whole.iterdir()] == ["whole"]


def test_what_a_killed_process_left_is_removed(folder: Path) -> None:
    """A process that was killed can't clean up: the next one does."""
    (folder / "tools/.a-1-killed").mkdir(parents=True)

    cache.entry("tools", "a-1", lambda into: (into / "whole").touch())

    assert [f.name for f in (folder / "tools").iterdir()] == ["a-1"]


def test_two_that_want_the_same_entry_make_it_once() -> None:
    """The second waits for the first, instead of building the same beside it."""
    made: list[Path] = []
    both = threading.Barrier(2)

    def want() -> None:
        both.wait(timeout=10)
        cache.entry("tools", "a-1", made.append)

    threads = [threading.Thread(target=want) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=10)

    assert len(made) == 1


def test_a_lock_that_is_held_is_not_waited_for() -> None:
    """`locked_if_free` says so instead; sharers don't exclude each other."""
    with (
        cache.locked("a", shared=True),
        cache.locked("a", shared=True),
        cache.locked_if_free("a") as alone,
    ):
        assert not alone
    with cache.locked_if_free("a") as alone:
        assert alone


@pytest.mark.parametrize(
    "change",
    [
        lambda f: (f / "a").write_text("other"),
        lambda f: (f / "a").rename(f / "b"),
        lambda f: (f / "c").touch(),
    ],
    ids=["content", "name", "one more"],
)
def test_a_fingerprint_changes_with_contents_and_names(tmp_path: Path, change: object) -> None:
    """Whatever changes below a folder changes its fingerprint."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a").write_text("text")
    before = cache.fingerprint(tmp_path / "in", "x")
    assert before == cache.fingerprint(tmp_path / "in", "x")
    assert callable(change)

    change(tmp_path / "in")

    assert cache.fingerprint(tmp_path / "in", "x") != before


def test_compiled_python_is_no_input(tmp_path: Path) -> None:
    """Running the code doesn't change its fingerprint."""
    (tmp_path / "in/__pycache__").mkdir(parents=True)
    (tmp_path / "in/a.py").touch()
    before = cache.fingerprint(tmp_path / "in")

    (tmp_path / "in/__pycache__/a.pyc").touch()

    assert cache.fingerprint(tmp_path / "in") == before


def test_inputs_cannot_run_into_each_other() -> None:
    """Two inputs are told apart from one that joins them."""
    assert cache.fingerprint("ab", "c") != cache.fingerprint("a", "bc")
