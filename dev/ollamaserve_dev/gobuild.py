"""Go programs from source, through the Go module proxy, with every checksum in a committed go.sum.

Only `tools` enters. Each program is built in its own module below `dev/`, so that go.sum pins it.
"""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ollamaserve_dev import cache, debian, miniaudio, progress, versions

DEV = cache.CHECKOUT / "dev"
VERSION_PACKAGE = "k8s.io/component-base/version"


@dataclass(frozen=True, slots=True)
class Program:
    """A program to build: package `package` of the Go module in `dev/<module>`."""

    name: str
    version: str
    module: str
    package: str = "."
    cgo: bool = False
    stamp: tuple[tuple[str, str], ...] = ()

    def fingerprint(self) -> str:
        folder = DEV / self.module
        pins = (folder / "go.mod", folder / "go.sum")
        return cache.fingerprint(repr(self), *pins, *sorted(folder.glob("*.go")))


def _kubernetes_stamp() -> tuple[tuple[str, str], ...]:
    """Version variables: without them version-skew checks see v0.0.0-master."""
    major, minor, _ = versions.KUBERNETES.removeprefix("v").split(".")
    return (
        (f"{VERSION_PACKAGE}.gitVersion", versions.KUBERNETES),
        (f"{VERSION_PACKAGE}.gitMajor", major),
        (f"{VERSION_PACKAGE}.gitMinor", minor),
        (f"{VERSION_PACKAGE}.gitTreeState", "clean"),
        ("k8s.io/client-go/pkg/version.gitVersion", versions.KUBERNETES),
    )


PROGRAMS = {
    p.name: p
    for p in (
        Program("kube", versions.KUBERNETES, "kube", stamp=_kubernetes_stamp()),
        Program("coredns", versions.COREDNS, "coredns"),
        Program(
            "local-path-provisioner",
            versions.LOCAL_PATH_PROVISIONER,
            "kube",
            "github.com/rancher/local-path-provisioner",
        ),
        Program("kind", versions.KIND, "kind", "sigs.k8s.io/kind"),
        Program("kwok", versions.KWOK, "kwok", "sigs.k8s.io/kwok/cmd/kwok"),
        Program(
            "kubeconform",
            versions.KUBECONFORM,
            "kubeconform",
            "github.com/yannh/kubeconform/cmd/kubeconform",
        ),
        Program("echo", versions.RELEASE, "echo"),
        Program(
            "ollama",
            versions.OLLAMA,
            "ollama",
            "github.com/ollama/ollama",
            cgo=True,
            stamp=(("github.com/ollama/ollama/version.Version", versions.OLLAMA),),
        ),
    )
}


def environment() -> dict[str, str]:
    """The caller's environment with Go's caches inside ours."""
    if shutil.which("go") is None:
        raise progress.SetupError("Go isn't installed: install Go >= 1.26 and try again")
    go = cache.root() / "go"
    return os.environ | {
        "GOMODCACHE": str(go / "mod"),
        "GOCACHE": str(go / "build"),
        "GOFLAGS": "-modcacherw -buildvcs=false -mod=readonly",
        "GOWORK": "off",
    }


def source(module: str, path: str) -> Path:
    """The unpacked source of module `path`, one that `dev/<module>` requires."""
    env = environment()
    folder = DEV / module
    progress.run(("go", "mod", "download", path), log=f"go-download-{module}", env=env, cwd=folder)
    words = ("go", "list", "-m", "-f", "{{.Dir}}", path)
    found = subprocess.run(
        words, env=env, cwd=folder, text=True, stdout=subprocess.PIPE, check=True
    )
    return Path(found.stdout.strip())


def build(program: Program, into: Path) -> None:
    """Build `program` as `into/<name>`."""
    env = environment() | {"CGO_ENABLED": "1" if program.cgo else "0"}
    if program.cgo:
        env |= _headers()
    folder = DEV / program.module
    label = f"{program.name} {program.version}"
    with progress.step(f"{label}: download its modules"):
        words = ("go", "list", "-deps", program.package)
        packages = progress.run(words, log=f"go-list-{program.name}", env=env, cwd=folder)
    linker = " ".join(["-s -w", *(f"-X {name}={value}" for name, value in program.stamp)])
    output = str(into / program.name)
    with progress.step(f"{label}: build from source"):
        progress.run(
            ("go", "build", "-v", "-trimpath", "-ldflags", linker, "-o", output, program.package),
            log=f"go-build-{program.name}",
            env=env,
            cwd=folder,
            lines=packages,
        )


def _headers() -> dict[str, str]:
    """Compiler flags for the three header libraries that Ollama's module archive lacks."""
    debian.need("Ollama's C++ code", "nlohmann-json3-dev", "libstb-dev")
    return {"CGO_CPPFLAGS": f"-I{miniaudio.folder()}"}
