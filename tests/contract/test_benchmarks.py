"""The page of the operator's benchmark is made of its figures, and of nothing else."""

import shutil
import subprocess
import sys
from pathlib import Path

from ollamaserve_dev import cache

DOCS = cache.CHECKOUT / "docs/benchmarks"


def test_the_operators_page_is_made_of_its_figures(tmp_path: Path) -> None:
    """No figure is written by hand: `python -m bench.operator --render` makes the same page."""
    shutil.copy(DOCS / "operator.json", tmp_path)
    subprocess.run(
        (sys.executable, "-m", "bench.operator", "--render", f"--out={tmp_path}"),
        cwd=cache.CHECKOUT,
        check=True,
        capture_output=True,
    )

    assert (tmp_path / "operator.md").read_text() == (DOCS / "operator.md").read_text()
