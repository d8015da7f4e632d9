"""Every version and checksum of what `dev` installs or builds, in one place.

Go programs are pinned twice: their version here, all their modules' checksums in the go.sum beside
the source build. Python packages are pinned in requirements/*.txt.
"""

KUBERNETES = "v1.34.2"
ETCD = "v3.6.4"
COREDNS = "v1.13.2"
LOCAL_PATH_PROVISIONER = "v0.0.30"
KIND = "v0.33.0"
# The stock node image nearest to KUBERNETES whose digest kind's releases (v0.30.0) name.
NODE_IMAGE = (
    "docker.io/kindest/node:v1.34.0"
    "@sha256:7416a61b42b1662ca6ca89f02028ac133a309a2a30ba309614e8ec94d976dc5a"
)
KWOK = "v0.8.0"
KUBECONFORM = "v0.8.0"
OLLAMA = "0.17.4"
OLLAMA_IMAGE = f"docker.io/ollama/ollama:{OLLAMA}"

# The sound library of Ollama's multimodal code is one header, left out of the Go module's archive
# (folders named vendor are); PyPI's source archive of the same name carries it.
MINIAUDIO = "1.61"
MINIAUDIO_SHA256 = "e88e97837d031f0fb6982394218b6487de02eaa382ad273b8fca37791a2b4b15"

# Debian suites: systemd 252 of bookworm still boots on cgroup v1; trixie has Python 3.13.
NODE_SUITE = "bookworm"
BASE_SUITE = "trixie"

# Our own images; the tag is the release.
RELEASE = "0.1.0"
PYTHON_IMAGE = "docker.io/library/python:3.13-slim-bookworm"
