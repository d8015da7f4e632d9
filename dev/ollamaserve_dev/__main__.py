"""`python -m ollamaserve_dev`: local clusters, images and tools from the command line."""

import argparse
import shutil
import sys

from ollamaserve_dev import cache, clusters, engine, images, progress, tools
from ollamaserve_dev.clusters import folder


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser(prog="python -m ollamaserve_dev", description=__doc__)
    commands = root.add_subparsers(dest="command", required=True)

    cluster = commands.add_parser("cluster", help="bring a local cluster up or down")
    cluster.add_argument("action", choices=("up", "down", "list", "kubeconfig"))
    cluster.add_argument("--provider", choices=clusters.PROVIDERS, default="kind")
    cluster.add_argument("--name", default="demo", help="the cluster's name (default: demo)")
    cluster.add_argument("--nodes", type=int, default=1, help="how many, control plane included")
    cluster.add_argument("--context", default="", help="of provider current: which kubectl context")
    cluster.add_argument(
        "--yes-really", action="store_true", help="of provider current: whatever its context is"
    )

    image = commands.add_parser("images", help="build our images, or load them into a cluster")
    image.add_argument("action", choices=("build", "load", "standalone"))
    image.add_argument("--provider", choices=clusters.PROVIDERS, default="kind")
    image.add_argument("--name", default="demo", help="the cluster's name (default: demo)")
    image.add_argument("--context", default="", help="of provider current: which kubectl context")

    commands.add_parser("clean", help="remove every cluster and image; keep what they are made of")
    commands.add_parser("tools", help="install or build every tool, and say where it is")
    return root


def main(words: list[str] | None = None) -> int:
    given = parser().parse_args(words)
    try:
        match given.command:
            case "cluster":
                _cluster(given)
            case "images":
                _images(given)
            case "clean":
                _clean()
            case _:
                for name in tools.NAMES:
                    print(f"{name:25}{tools.path(name)}")
    except progress.SetupError as error:
        print(f"{given.command}: {error}", file=sys.stderr)
        return 1
    return 0


def _cluster(given: argparse.Namespace) -> None:
    if given.action == "list":
        for name, kind in folder.known().items():
            print(f"{name:25}{kind}")
        return
    provider = clusters.provider(
        given.provider,
        name=given.name,
        nodes=given.nodes,
        context=given.context,
        force=given.yes_really,
    )
    match given.action:
        case "up":
            provider.up()
            print(f"export KUBECONFIG={provider.kubeconfig}")
        case "down":
            provider.down()
        case _:
            print(provider.kubeconfig)


def _images(given: argparse.Namespace) -> None:
    if given.action == "standalone":
        print(images.standalone())
        return
    built = images.build_all()
    if given.action == "load":
        provider = clusters.provider(given.provider, name=given.name, context=given.context)
        provider.load_image(*built)
    for image in built:
        print(image)


def _clean() -> None:
    for name, kind in folder.known().items():
        clusters.provider(kind, name=name).down()
    if shutil.which("docker") or shutil.which("podman"):
        with progress.step("remove our images"):
            engine.current().forget_all(images.PREFIX)
    with progress.step("remove the compiler's cache and what an interrupted build left"):
        for name in ("go/build", "scratch"):
            shutil.rmtree(cache.root() / name, ignore_errors=True)
    kept = sorted(path.name for path in cache.root().iterdir())
    print(f"kept in {cache.root()}: {', '.join(kept)}")
    print("tools take long to build again; to remove them too, delete that folder")


if __name__ == "__main__":
    sys.exit(main())
