"""The way to the models' registry, for the Ollama that pulls: proxy and certificates.

Go's own variables: golang.org/x/net/http/httpproxy, and crypto/x509 (`root_unix.go`).
"""

from typing import Any

from ollamaserve_operator import api
from ollamaserve_operator.api import OllamaServe

CA_PATH = "/etc/ollamaserve/ca"
# The folders that Go looks into besides the system's one file; SSL_CERT_DIR replaces the folders
# and SSL_CERT_FILE would replace the file, and with it every public authority.
_SYSTEM_CERTIFICATES = ("/etc/ssl/certs", "/etc/pki/tls/certs")
_NEVER_BY_PROXY = "localhost,127.0.0.1,::1"


def environment(serve: OllamaServe) -> dict[str, str]:
    proxy = serve.pull.proxy
    through = {"HTTP_PROXY": proxy.http, "HTTPS_PROXY": proxy.https}
    if any(through.values()) or proxy.no:
        through["NO_PROXY"] = ",".join(filter(None, (_NEVER_BY_PROXY, proxy.no)))
    if serve.pull.ca_bundle:
        through[api.CERTIFICATES_ENV] = ":".join((*_SYSTEM_CERTIFICATES, CA_PATH))
    return {name: value for name, value in through.items() if value}


def volumes(serve: OllamaServe) -> list[dict[str, Any]]:
    bundle = serve.pull.ca_bundle
    if bundle is None:
        return []
    source = {"name": bundle.name, "items": [{"key": bundle.key, "path": "ca.crt"}]}
    return [{"name": "ca", "configMap": source}]


def mounts(serve: OllamaServe) -> list[dict[str, Any]]:
    if serve.pull.ca_bundle is None:
        return []
    return [{"name": "ca", "mountPath": CA_PATH, "readOnly": True}]
