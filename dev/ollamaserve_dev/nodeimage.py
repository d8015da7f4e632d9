"""The node image of kind: the stock one where it can be pulled, otherwise made here.

Made of a Debian root filesystem, the source-built Kubernetes programs, and one set of layers that
serves as every image a node starts with (kube-proxy, CoreDNS, the sandbox…), under their names.
"""

import shutil
import subprocess
from pathlib import Path

from ollamaserve_dev import cache, debian, kindsource, oci, progress, tools, versions
from ollamaserve_dev.engine import Engine

FOLDER = cache.CHECKOUT / "dev/kube/node"
PAUSE = cache.CHECKOUT / "dev/kube/pause/pause.c"
NODE_PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "conntrack", "iptables", "nftables", "iproute2"),
    *("ethtool", "util-linux", "mount", "kmod", "libseccomp2", "e2fsprogs", "bash", "curl", "jq"),
    *("ca-certificates", "procps", "ebtables", "socat", "ipset", "containerd", "runc", "pigz"),
    "containernetworking-plugins",
)
# iptables brings the libraries of its modules: without libm, services with one endpoint work and
# those with two don't.
POD_PACKAGES = ("iptables", "busybox", "ca-certificates")
BUSYBOX = "localhost/busybox:local"
PROGRAMS = ("kube", "coredns", "local-path-provisioner")


def reference(engine: Engine) -> str:
    """The name of a node image that `engine` has or can pull, made here where it must be."""
    made = f"localhost/ollamaserve/node:{versions.KUBERNETES}-{_fingerprint()}"
    if engine.image_id(made):
        return made
    if engine.reaches(versions.NODE_IMAGE):
        return versions.NODE_IMAGE
    with cache.locked("node-image"), cache.scratch() as scratch:
        if not engine.image_id(made):
            _make(engine, made, scratch)
            engine.forget("localhost/ollamaserve/node", made)
    return made


def _fingerprint() -> str:
    programs = [str(tools.path("kubectl" if p == "kube" else p)) for p in PROGRAMS]
    here = Path(__file__)
    return cache.fingerprint(
        versions.KIND, *programs, here, here.with_name("oci.py"), FOLDER, PAUSE
    )


def _make(engine: Engine, name: str, context: Path) -> None:
    source = kindsource.Source.fetched()
    root = debian.root(versions.NODE_SUITE, "node", NODE_PACKAGES, variant="minbase")
    with progress.step("images that a node starts with"):
        _preloaded(source, context)
    with progress.step(f"node image {name}"):
        _fill(source, context)
        (context / "root.tar").hardlink_to(root)
        engine.run(
            *("build", "--network=none", f"--tag={name}", f"--file={context}/Dockerfile"),
            *(("--layers=false",) if engine.name == "podman" else ()),
            context,
            log="node-image",
        )


def _fill(source: kindsource.Source, context: Path) -> None:
    """The build context besides the root filesystem: see dev/kube/node/Dockerfile."""
    files = context / "files"
    shutil.copytree(source.base_files, files)
    for program in (*files.glob("usr/local/bin/*"), *files.glob("kind/bin/*")):
        program.chmod(0o755)  # a Go module's archive keeps no modes
    shutil.copy(FOLDER / "crictl", files / "usr/local/bin/crictl")
    (files / "usr/local/bin/crictl").chmod(0o755)
    (files / "kind/version").write_text(versions.KUBERNETES)
    (files / "kind/manifests").mkdir()
    for name, text in source.manifests().items():
        (files / "kind/manifests" / name).write_text(text)
    shutil.copy(tools.path("kubectl").resolve(), context / "kube")
    shutil.copy(FOLDER / "Dockerfile", context)
    shutil.copy(FOLDER / "setup.sh", context)


def _preloaded(source: kindsource.Source, context: Path) -> None:
    """`images.tar`: Kubernetes' and kind's images, all of the same two layers."""
    pods = debian.root(versions.NODE_SUITE, "pods", POD_PACKAGES, variant="extract")
    base, programs = context / "base", context / "programs/usr/local/bin"
    debian.unpack(pods, base)
    _commands(base)
    programs.mkdir(parents=True)
    for name in PROGRAMS:
        shutil.copy(tools.path("kubectl" if name == "kube" else name).resolve(), programs / name)
    for component in tools.KUBE:
        (programs / component).symlink_to("kube")
    words = ("gcc", "-static", "-Os", "-s", "-o", programs / "pause", PAUSE)
    progress.run(words, log="pause", remedy="A C compiler with a static C library is needed.\n")
    layers = [oci.Layer.of(base), oci.Layer.of(context / "programs")]
    oci.write(context / "images.tar", _images(source), layers)
    shutil.rmtree(base)
    shutil.rmtree(context / "programs")


def _commands(base: Path) -> None:
    """What the packages' own scripts would have set up: they didn't run."""
    (base / "etc").mkdir(exist_ok=True)
    (base / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (base / "etc/group").write_text("root:x:0:\n")
    certificates = base / "etc/ssl/certs/ca-certificates.crt"
    certificates.parent.mkdir(parents=True, exist_ok=True)
    authorities = sorted((base / "usr/share/ca-certificates").rglob("*.crt"))
    certificates.write_text("".join(a.read_text() for a in authorities))
    for program in ("iptables", "ip6tables"):
        for suffix in ("", "-save", "-restore"):
            (base / f"usr/sbin/{program}{suffix}").unlink(missing_ok=True)
            (base / f"usr/sbin/{program}{suffix}").symlink_to("xtables-nft-multi")
    subprocess.run(("chroot", base, "/bin/busybox", "--install", "-s", "/bin"), check=True)


def _images(source: kindsource.Source) -> list[oci.Image]:
    words = (tools.path("kubeadm"), "config", "images", "list")
    listed = subprocess.run(
        (*words, f"--kubernetes-version={versions.KUBERNETES}"),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
    )
    kind = source.images()
    named = [(name.rsplit("/", 1)[-1].split(":")[0], name) for name in listed.stdout.split()]
    components = [
        oci.Image(name, ("coredns",) if program == "coredns" else ())
        for program, name in named
        if program != "pause"
    ]
    return [
        *components,
        oci.Image(kind["kindnetd"], ("kindnetd",)),
        oci.Image(kind["provisioner"], ("local-path-provisioner",)),
        oci.Image(kind["helper"]),
        oci.Image(kind["sandbox"], ("pause",)),
        oci.Image(BUSYBOX),
    ]
