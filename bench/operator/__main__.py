"""`python -m bench.operator`: the operator against a plain writer of the same objects, in one run.

Both on a real API server with its controllers, nodes played by kwok. Writes
docs/benchmarks/operator.json and the page made of it; `--render` makes the page anew.
"""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from bench.operator import page, phases
from ollamaserve_dev import localoperator, progress
from ollamaserve_dev.kubectl import Kubectl

DOCS = Path(__file__).parents[2] / "docs/benchmarks"


async def measure(resources: int, folder: Path) -> page.Result:
    """All phases, one after the other."""
    async with phases.control_plane("bench-writer", resources) as (kubeconfig, api):
        localoperator.installed(Kubectl(kubeconfig), folder)
        with progress.step(f"a plain writer, {resources} resources"):
            writer = await phases.written(api, resources)
    async with phases.control_plane("bench-operator", resources) as (kubeconfig, api):
        operator = localoperator.installed(Kubectl(kubeconfig), folder)
        operator.start()
        try:
            with progress.step(f"the operator, {resources} resources"):
                operated = await phases.operated(api, operator, resources)
            with progress.step("its next start"):
                restart = await asyncio.to_thread(phases.restarted, operator, resources)
        finally:
            operator.stop()
    return page.result(resources, writer, operated, restart)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resources", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=DOCS, help="folder of operator.json and .md")
    parser.add_argument("--render", action="store_true", help="only make the page anew")
    asked = parser.parse_args()
    target: Path = asked.out / "operator.json"
    if not asked.render:
        with tempfile.TemporaryDirectory() as folder:
            result = asyncio.run(measure(asked.resources, Path(folder)))
        asked.out.mkdir(parents=True, exist_ok=True)
        target.write_text(page.as_json(result))
    text = page.render(page.read(target.read_text()))
    target.with_suffix(".md").write_text(text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
