"""`python -m ollamaserve_sidecar serve|pull|standalone`: the gate, the pull Job's puller, or all.

Configuration comes from the environment alone (docs/architecture.md); what is wrong with it is
said in one line, and the exit status is 2.
"""

from __future__ import annotations

import gc
import logging
import os
import sys
from typing import TYPE_CHECKING

import uvloop

from ollamaserve_sidecar import pulljob, serve, standalone
from ollamaserve_sidecar.config import ConfigError
from ollamaserve_sidecar.failures import Cause, Failure
from ollamaserve_sidecar.wire import WireError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

REFUSED = int(pulljob.Exit.CONFIGURATION)
YOUNG = 50_000
"""Objects, beyond those that went, before a collection looks at the new ones: Python's is 700."""
_USAGE = "usage: python -m ollamaserve_sidecar serve|pull|standalone"


def main(arguments: Sequence[str]) -> int:
    """Run one command; its exit status."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    match arguments:
        case ["serve"]:
            return _serve(serve.command)
        case ["pull"]:
            return _pull()
        case ["standalone"]:
            return _serve(standalone.command)
    return _refuse(_USAGE)


def _serve(command: Callable[[Mapping[str, str]], Coroutine[None, None, int]]) -> int:
    collect_seldom()
    try:
        return uvloop.run(command(os.environ))
    except (ConfigError, WireError) as error:
        return _refuse(str(error))


def collect_seldom() -> None:
    """A collection stops every stream, and requests leave no cycles: few, and over few objects."""
    gc.freeze()  # what was imported stays
    gc.set_threshold(YOUNG)


def _pull() -> int:
    try:
        return uvloop.run(pulljob.command(os.environ))
    except ConfigError as error:
        _refuse(str(error))
        return pulljob.end(Failure(Cause.INVALID_CONFIGURATION, str(error)))


def _refuse(line: str) -> int:
    sys.stderr.write(f"ollamaserve_sidecar: {line}\n")
    return REFUSED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
