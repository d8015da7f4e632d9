"""The command lines of a control plane's components. Pure, but for the choice of free ports."""

import socket
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

# Nothing routes to these addresses: every control plane may use the same.
SERVICES = "10.97.0.0/16"
FIRST_SERVICE = "10.97.0.1"
SECONDS_OF_A_LEASE = 40

Words = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ports:
    etcd: int
    etcd_peers: int
    api: int

    @classmethod
    def free(cls) -> Self:
        """Ports that nobody listens on now; all held at once, so that they differ."""
        with ExitStack() as held:
            sockets = [held.enter_context(socket.socket()) for _ in range(3)]
            for each in sockets:
                each.bind(("127.0.0.1", 0))
            return cls(*(each.getsockname()[1] for each in sockets))


def etcd(folder: Path, ports: Ports) -> Words:
    client, peers = f"http://127.0.0.1:{ports.etcd}", f"http://127.0.0.1:{ports.etcd_peers}"
    return (
        "--unsafe-no-fsync",  # what is lost in a crash is a test's
        "--log-level=warn",
        f"--data-dir={folder}/etcd",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peers}",
        f"--initial-advertise-peer-urls={peers}",
        f"--initial-cluster=default={peers}",
    )


def api_server(folder: Path, ports: Ports) -> Words:
    return (
        f"--etcd-servers=http://127.0.0.1:{ports.etcd}",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        "--endpoint-reconciler-type=none",
        f"--secure-port={ports.api}",
        f"--service-cluster-ip-range={SERVICES}",
        f"--tls-cert-file={folder}/server.crt",
        f"--tls-private-key-file={folder}/server.key",
        f"--token-auth-file={folder}/tokens.csv",
        "--authorization-mode=Node,RBAC",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={folder}/accounts.key",
        f"--service-account-signing-key-file={folder}/accounts.key",
        "--allow-privileged",
    )


def controllers(folder: Path) -> Words:
    return (
        f"--kubeconfig={folder}/kubeconfig",
        f"--service-account-private-key-file={folder}/accounts.key",
        f"--root-ca-file={folder}/ca.crt",
        "--use-service-account-credentials",
        "--leader-elect=false",
        "--secure-port=0",
    )


def scheduler(folder: Path) -> Words:
    return (f"--kubeconfig={folder}/kubeconfig", "--leader-elect=false", "--secure-port=0")


def kwok(folder: Path, stages: tuple[Path, ...]) -> Words:
    """Leases keep a node Ready: without them it is NotReady after 40 s, and its pods with it."""
    return (
        f"--kubeconfig={folder}/kubeconfig",
        "--manage-all-nodes",
        f"--node-lease-duration-seconds={SECONDS_OF_A_LEASE}",
        *(f"--config={stage}" for stage in stages),
    )
