"""One gate with a token of full access for the folder, and one whose token is limited."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from component.differential.rig import Rig, opened
from ollamaserve_dev import tools


@pytest.fixture(scope="session")
def echo_program() -> Path:
    return tools.path("echo")


@pytest.fixture(scope="package")
def full(echo_program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with opened(echo_program, tmp_path_factory.mktemp("full"), "full") as rig:
        yield rig


@pytest.fixture(scope="package")
def limited(echo_program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with opened(echo_program, tmp_path_factory.mktemp("limited"), "infer") as rig:
        yield rig


@pytest.fixture
def rig(full: Rig) -> Iterator[Rig]:
    """The gate with full access, nothing remembered; afterwards it must still serve."""
    full.echo.forget()
    yield full
    full.serves()
