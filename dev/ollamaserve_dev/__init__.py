"""Local clusters, images, test registry and demo: what a developer and CI run."""
