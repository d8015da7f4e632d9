"""Our images: on the public base where a registry is in reach, otherwise on a local Debian one.

Each carries the fingerprint of its inputs as a label, and is built again only when they changed.
"""

import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from types import MappingProxyType

from ollamaserve_dev import cache, debian, engine, progress, tools, versions
from ollamaserve_dev.engine import Engine

PREFIX = "localhost/ollamaserve"
LABEL = "dev.ollamaserve.inputs"
# What the Python packages' wheels and the ollama binary link against, besides Python itself.
BASE_PACKAGES = ("python3", "ca-certificates", "libstdc++6", "libgomp1", "netbase")
# `python3 -m venv`, and what compiles the gate's hot path.
BUILD_PACKAGES = (*BASE_PACKAGES, "python3-venv", "python3-dev", "gcc", "libc6-dev")
_LOCAL = {"BASE": ("base", BASE_PACKAGES), "BUILD_BASE": ("build-base", BUILD_PACKAGES)}
_LOCKS = {"operator": ("operator",), "sidecar": ("sidecar", "compile")}
WHEEL_PLATFORMS = ("manylinux_2_34_x86_64", "manylinux_2_28_x86_64", "manylinux2014_x86_64")


@dataclass(frozen=True, slots=True)
class Images:
    """References of images that the local engine has (or, of `ollama`, that can be pulled)."""

    operator: str
    sidecar: str
    ollama: str

    def __iter__(self) -> Iterator[str]:
        return iter(astuple(self))


def build_all() -> Images:
    current = engine.current()
    return Images(
        operator=_program(current, "operator", "operator"),
        sidecar=_program(current, "sidecar", "sidecar"),
        ollama=ollama(current),
    )


def ollama(current: Engine) -> str:
    """Ollama's public image where it can be pulled, otherwise one of the source-built program."""
    made = f"{PREFIX}/ollama:{versions.OLLAMA}"
    if not current.image_id(made) and current.reaches(versions.OLLAMA_IMAGE):
        if not current.image_id(versions.OLLAMA_IMAGE):
            with progress.step(f"pull {versions.OLLAMA_IMAGE}"):
                current.run("pull", versions.OLLAMA_IMAGE, log="pull-ollama")
        return versions.OLLAMA_IMAGE
    dockerfile = cache.CHECKOUT / "dev/ollama/Dockerfile"
    binary = tools.path("ollama")

    def context(into: Path) -> None:
        shutil.copy(binary, into / "ollama")
        shutil.copy(dockerfile, into / "Dockerfile")

    base = _local_bases(current)["BASE"]
    inputs = cache.fingerprint(str(binary), base, dockerfile)
    _build(current, made, inputs, context, {"BASE": base})
    return made


def standalone() -> str:
    """The image of the one container: the gate, and the program of Ollama's image."""
    current = engine.current()
    from_image = ollama(current)
    inputs = {"OLLAMA": from_image}
    return _program(current, "standalone", "sidecar", inputs, current.image_id(from_image) or "")


def _program(
    current: Engine,
    name: str,
    folder: str,
    arguments: Mapping[str, str] = MappingProxyType({}),
    *more: str,
) -> str:
    """The image `name` of the package in `folder`; `more` are further inputs of it."""
    image = f"{PREFIX}/{name}:{versions.RELEASE}"
    checkout = cache.CHECKOUT
    dockerfile = checkout / f"Dockerfile.{name}"
    locks = [checkout / f"requirements/{name}.txt" for name in _LOCKS[folder]]
    package = checkout / folder
    bases = _bases(current)
    local = "BUILD_BASE" in bases

    def context(into: Path) -> None:
        shutil.copy(dockerfile, into / "Dockerfile")
        (into / "requirements").mkdir()
        shutil.copytree(package, into / folder, ignore=shutil.ignore_patterns("__pycache__"))
        for lock in locks:
            shutil.copy(lock, into / "requirements")
            if local:
                shutil.copytree(_wheels(lock), into / "wheels", dirs_exist_ok=True)

    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/wheels"} if local else {}
    inputs = cache.fingerprint(*bases.values(), *more, dockerfile, *locks, package)
    _build(current, image, inputs, context, {**bases, **offline, **arguments})
    return image


def _build(
    current: Engine,
    image: str,
    inputs: str,
    context: Callable[[Path], None],
    arguments: dict[str, str],
) -> None:
    if current.label(image, LABEL) == inputs:
        return
    with (
        progress.step(f"image {image}"),
        cache.scratch() as scratch,
    ):
        context(scratch)
        current.run(
            *("build", f"--tag={image}", f"--label={LABEL}={inputs}"),
            *(f"--build-arg={name}={value}" for name, value in arguments.items()),
            *(("--network=none",) if "PIP_NO_INDEX" in arguments else ()),
            *(f"--file={scratch}/Dockerfile", str(scratch)),
            log=f"image-{Path(image).name.partition(':')[0]}",
        )


def _wheels(lock: Path) -> Path:
    """The locked packages for the images' Python, fetched by this machine's own pip.

    So the build needs no network, and this machine's pip configuration never enters an image.
    """

    def fetch(into: Path) -> None:
        with progress.step(f"wheels of {lock.name}"):
            progress.run(
                (
                    *(sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes"),
                    *("--only-binary=:all:", "--python-version=3.13", "--implementation=cp"),
                    *(f"--platform={platform}" for platform in WHEEL_PLATFORMS),
                    *(f"--dest={into}", f"--requirement={lock}"),
                ),
                log=f"wheels-{lock.stem}",
            )

    return cache.entry("wheels", f"{lock.stem}-{cache.fingerprint(lock, *WHEEL_PLATFORMS)}", fetch)


def _bases(current: Engine) -> dict[str, str]:
    """The build arguments that name the base images: public where in reach, otherwise local."""
    local = _local_base_names()
    if not current.image_id(local["BASE"]) and current.reaches(versions.PYTHON_IMAGE):
        return {"BASE": versions.PYTHON_IMAGE}
    return _local_bases(current)


def _local_base_names() -> dict[str, str]:
    return {
        argument: f"{PREFIX}/{name}:{versions.BASE_SUITE}-{cache.fingerprint(*packages)}"
        for argument, (name, packages) in _LOCAL.items()
    }


def _local_bases(current: Engine) -> dict[str, str]:
    """Debian with Python 3.13 as BASE, and with what builds as BUILD_BASE."""
    names = _local_base_names()
    for argument, (name, packages) in _LOCAL.items():
        image = names[argument]
        if not current.image_id(image):
            root = debian.root(versions.BASE_SUITE, name, packages, variant="essential")
            with progress.step(f"image {image}"):
                current.run("import", root, image, log="import")
    return names
