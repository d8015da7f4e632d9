"""The operator's configuration: the only reader of the environment, and only at start.

Whatever is missing or malformed is said in one line that names the variable and the remedy.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ollamaserve_operator import names

_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")  # RFC 1123, "label"


class ConfigError(Exception):
    """One line for the person who deployed the operator."""


@dataclass(frozen=True, slots=True)
class Config:
    """`watch_namespaces` empty: cluster-wide. `api_server` empty: as the kubeconfig says.

    `home` is the namespace of the operator's own pods, which policies let through to 7861.
    """

    gate_image: str
    ollama_image: str
    ollama_rocm_image: str
    watch_namespaces: tuple[str, ...] = ()
    home: str = names.HOME
    api_server: str = ""
    listen_host: str | None = None
    listen_port: int = 8080


def read(environ: Mapping[str, str]) -> Config:
    """The configuration of docs/architecture.md, "Images and their environment"."""
    host, port = _listen(environ.get("OPERATOR_LISTEN", ":8080"))
    return Config(
        gate_image=_image(environ, "GATE_IMAGE"),
        ollama_image=_image(environ, "OLLAMA_IMAGE"),
        ollama_rocm_image=_image(environ, "OLLAMA_ROCM_IMAGE"),
        watch_namespaces=_namespaces(environ.get("WATCH_NAMESPACE", "")),
        home=environ.get("POD_NAMESPACE") or names.HOME,
        api_server=_api_server(environ),
        listen_host=host,
        listen_port=port,
    )


def _image(environ: Mapping[str, str], name: str) -> str:
    value = environ.get(name, "").strip()
    if not value:
        raise ConfigError(f"{name} is not set: set it to an image, as deploy/install.yaml does")
    if any(letter.isspace() for letter in value):
        raise ConfigError(f"{name} is {value!r}: an image name holds no white space")
    return value


def _namespaces(value: str) -> tuple[str, ...]:
    """Names with commas between them, each once, in the order given."""
    found = tuple(dict.fromkeys(name for part in value.split(",") if (name := part.strip())))
    for name in found:
        if not _NAMESPACE.fullmatch(name):
            raise ConfigError(
                f"WATCH_NAMESPACE has {name!r}: write names of namespaces with commas between "
                "them, or nothing for all"
            )
    return found


def _listen(value: str) -> tuple[str | None, int]:
    host, colon, port = value.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:  # noqa: PLR2004 (the last TCP port)
        raise ConfigError(f"OPERATOR_LISTEN is {value!r}: write host:port, for example :8080")
    return host.strip("[]") or None, int(port)


def _api_server(environ: Mapping[str, str]) -> str:
    """The address that kubelet gives each pod: it works without DNS."""
    host = environ.get("KUBERNETES_SERVICE_HOST", "")
    port = environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        return ""
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
