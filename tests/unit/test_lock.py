"""The lock files hold hashes and no address of any index."""

from pathlib import Path

import pytest

LOCKS = sorted(Path(__file__).parents[2].glob("requirements/*.txt"))


@pytest.mark.parametrize("lock", LOCKS, ids=lambda p: p.name)
def test_lock_has_hashes_and_no_addresses(lock: Path) -> None:
    """Any index can serve the locked packages, and only those bytes are accepted."""
    text = lock.read_text()

    assert "--hash=sha256:" in text
    assert "://" not in text
