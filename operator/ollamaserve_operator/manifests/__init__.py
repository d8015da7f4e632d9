"""The objects that a resource wants, as plain manifests in the order in which they are applied.

Pure: one file per kind, named after it. A builder writes only the fields it has an opinion on.
"""

from collections.abc import Iterator

from ollamaserve_operator import names
from ollamaserve_operator.api import OllamaServe
from ollamaserve_operator.manifests.config_map import config_map
from ollamaserve_operator.manifests.deployment import deployment
from ollamaserve_operator.manifests.http_route import http_route
from ollamaserve_operator.manifests.images import Images
from ollamaserve_operator.manifests.ingress import ingress
from ollamaserve_operator.manifests.metadata import Manifest, stamped
from ollamaserve_operator.manifests.network_policy import network_policies
from ollamaserve_operator.manifests.persistent_volume_claim import persistent_volume_claim
from ollamaserve_operator.manifests.pod_disruption_budget import pod_disruption_budget
from ollamaserve_operator.manifests.pod_monitor import pod_monitor
from ollamaserve_operator.manifests.pull_job import pull_job
from ollamaserve_operator.manifests.secret import secret
from ollamaserve_operator.manifests.service import service
from ollamaserve_operator.observed import Observed

__all__ = ["Images", "Manifest", "children"]


def children(
    serve: OllamaServe, images: Images, observed: Observed, home: str = names.HOME
) -> tuple[Manifest, ...]:
    """Every object that should be there now, each stamped with the hash of this wish.

    `home` is the operator's namespace. The policies go first: no pod is ever without.
    """
    wanted = (
        *network_policies(serve, home),
        secret(serve, observed),
        config_map(serve, observed),
        persistent_volume_claim(serve, observed),
        service(serve),
        deployment(serve, images, observed),
        pull_job(serve, images, observed),
        pod_disruption_budget(serve),
        ingress(serve),
        *_where_offered(observed, http_route(serve), pod_monitor(serve)),
    )
    return tuple(stamped(manifest) for manifest in wanted if manifest is not None)


def _where_offered(observed: Observed, *optional: Manifest | None) -> Iterator[Manifest]:
    """Those whose kind this cluster has (decision 13)."""
    for manifest in optional:
        if manifest is not None and manifest["kind"] in observed.offered:
            yield manifest
