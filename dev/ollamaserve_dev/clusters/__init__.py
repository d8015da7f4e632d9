"""Local clusters, behind one small interface; what is special about each stays in its provider.

cluster = clusters.provider("kind", name="demo", nodes=1).up()
cluster.load_image("localhost/ollamaserve/operator:0.1.0")
clusters.provider("kind", name="demo").down()
"""

from ollamaserve_dev import progress
from ollamaserve_dev.clusters.cluster import Cluster, Provider
from ollamaserve_dev.clusters.controlplane import ControlPlane
from ollamaserve_dev.clusters.current import Current
from ollamaserve_dev.clusters.kind import Kind

__all__ = ["PROVIDERS", "Cluster", "Provider", "provider"]

PROVIDERS = ("kind", "control-plane", "current")


def provider(
    kind: str = "kind",
    *,
    name: str = "demo",
    nodes: int = 1,
    context: str = "",
    force: bool = False,
) -> Provider:
    """The provider `kind`, control-plane or current; raises SetupError for any other.

    `nodes`: of kind, counting the control plane; of control-plane, fake ones.
    `context` and `force` are for current: which one, and whether it may be any cluster at all.
    """
    match kind:
        case "kind":
            return Kind(name, nodes)
        case "control-plane":
            return ControlPlane(name, nodes)
        case "current":
            return Current(name, context, force)
        case _:
            raise progress.SetupError(f"--provider {kind}: it is one of {', '.join(PROVIDERS)}")
