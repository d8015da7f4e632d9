"""Gates for the whole folder: with full access, without and with TLS, and with a limited token."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from component.certificates import mount
from component.differential.rig import Rig, opened
from ollamaserve_dev import tools
from ollamaserve_dev.certificate import pair


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


@pytest.fixture(scope="package")
def encrypted(echo_program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    certificate = tmp_path_factory.mktemp("tls")
    mount(certificate, *pair("gate"))
    with opened(echo_program, tmp_path_factory.mktemp("encrypted"), "full", certificate) as rig:
        yield rig


@pytest.fixture(params=["plain", "tls"])
def either(request: pytest.FixtureRequest) -> Iterator[Rig]:
    """As `rig`, on both kinds of door."""
    name = "encrypted" if request.param == "tls" else "full"
    rig: Rig = request.getfixturevalue(name)
    rig.echo.forget()
    yield rig
    rig.serves()


@pytest.fixture
def rig(full: Rig) -> Iterator[Rig]:
    """The gate with full access, nothing remembered; afterwards it must still serve."""
    full.echo.forget()
    yield full
    full.serves()
