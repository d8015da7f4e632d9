"""The percentage of a pull, for any stream that Ollama may send."""

from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ollamaserve_sidecar.progress import Progress

sizes = st.integers(0, 10**12)
lines = st.one_of(
    st.just({"status": "pulling manifest"}),
    st.builds(
        lambda digest, total, done: {
            "status": f"pulling {digest}",
            "digest": digest,
            "total": total,
            "completed": done,
        },
        st.sampled_from("abcd"),
        sizes,
        sizes,
    ),
    st.builds(lambda total: {"status": "pulling e", "digest": "e", "total": total}, sizes),
    st.fixed_dictionaries(
        {},
        optional={
            key: st.sampled_from([None, True, 0.5, "7", -7, 7])
            for key in ("status", "digest", "total", "completed")
        },
    ),
)


@given(st.lists(lines))
def test_it_never_falls_and_is_done_only_at_the_success(stream: list[dict[str, Any]]) -> None:
    """0 <= percent <= 99 and rising, whatever the lines hold; 100 comes with `success` alone."""
    progress, before = Progress(), 0
    for line in stream:
        progress.see(line)

        assert before <= progress.percent <= 99
        assert not progress.succeeded
        before = progress.percent

    progress.see({"status": "success"})

    assert progress.percent == 100
    assert progress.succeeded


def test_it_counts_the_bytes_of_all_layers() -> None:
    """A small layer that is done doesn't hide that the large one has only begun."""
    progress = Progress()
    progress.see({"status": "pulling a", "digest": "a", "total": 900, "completed": 90})
    progress.see({"status": "pulling b", "digest": "b", "total": 100, "completed": 100})

    assert progress.percent == 19


def test_bytes_that_ollama_takes_back_do_not_lower_it() -> None:
    """A part that failed is fetched again: people see a pause, not a fall."""
    progress = Progress()
    progress.see({"status": "pulling a", "digest": "a", "total": 100, "completed": 60})
    progress.see({"status": "pulling a", "digest": "a", "total": 100, "completed": 10})

    assert progress.percent == 60


def test_what_is_awaited_changes_with_what_comes() -> None:
    """A line without a new byte changes nothing; a byte or another layer does; own work is None."""
    progress, seen = Progress(), []
    for line in (
        {"status": "pulling manifest"},
        {"status": "pulling a", "digest": "a", "total": 9, "completed": 1},
        {"status": "pulling a", "digest": "a", "total": 9, "completed": 1},
        {"status": "pulling a", "digest": "a", "total": 9, "completed": 2},
        {"status": "pulling a", "digest": "a", "total": 9},
        {"status": "pulling a", "digest": "a", "total": 9, "completed": 2},
        {"status": "pulling b", "digest": "b", "total": 9},
        {"status": "verifying sha256 digest"},
    ):
        progress.see(line)
        seen.append(progress.awaited)

    changes = [one != two for one, two in pairwise(seen)]
    assert changes == [True, False, True, False, True, True, True]
    assert [awaited is None for awaited in seen] == [False] * 7 + [True]
