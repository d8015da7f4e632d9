"""The objects that a resource wants, as plain manifests in the order in which they are applied.

Pure: one file per kind, named after it. A builder writes only the fields it has an opinion on.
"""

from ollamaserve_operator.api import OllamaServe
from ollamaserve_operator.manifests.config_map import config_map
from ollamaserve_operator.manifests.deployment import deployment
from ollamaserve_operator.manifests.images import Images
from ollamaserve_operator.manifests.metadata import Manifest, stamped
from ollamaserve_operator.manifests.persistent_volume_claim import persistent_volume_claim
from ollamaserve_operator.manifests.pull_job import pull_job
from ollamaserve_operator.manifests.secret import secret
from ollamaserve_operator.manifests.service import service
from ollamaserve_operator.observed import Observed

__all__ = ["Images", "Manifest", "children"]


def children(serve: OllamaServe, images: Images, observed: Observed) -> tuple[Manifest, ...]:
    """Every object that should be there now, each stamped with the hash of this wish."""
    wanted = (
        secret(serve, observed),
        config_map(serve, observed),
        persistent_volume_claim(serve, observed),
        service(serve),
        deployment(serve, images, observed),
        pull_job(serve, images, observed),
    )
    return tuple(stamped(manifest) for manifest in wanted if manifest is not None)
