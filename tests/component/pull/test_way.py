"""The way to the registry as the operator makes it, and a real Ollama that goes it.

Go reads the proxy and the certificates from the variables; whether it reads them as the manifests
mean them, only Ollama can tell. `registry.example` exists behind the proxy alone, and speaks HTTPS.
"""

import asyncio
import datetime as dt
import socket
import ssl
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from examples import ROOT, parsed, resource
from ollamaserve_dev.registry import Registry, Settings
from ollamaserve_operator.manifests import registry as way
from ollamaserve_sidecar.config import ExpectedModel
from ollamaserve_sidecar.failures import Failure
from ollamaserve_sidecar.ollama import Ollama
from ollamaserve_sidecar.pull import Puller
from ollamaserve_sidecar.pulljob import Job
from ollamaserve_sidecar.pulljob import Settings as Wanted

HOST = "registry.example"
MODEL = f"{HOST}/library/tiny"
NAMES = [x509.DNSName(HOST)]


@dataclass
class Proxy:
    """A forward proxy that knows one host; `asked` are the CONNECT requests it got."""

    port: int = 0
    asked: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:  # the other end has had enough
        pass
    finally:
        writer.close()


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    """A certificate for the host and its key, in one file: nobody's, until it is trusted."""
    key = ec.generate_private_key(ec.SECP256R1())
    now, subject = (
        dt.datetime.now(dt.UTC),
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")]),
    )
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(NAMES), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "registry.pem"
    path.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


@pytest.fixture
async def registry_port(authority: Path) -> AsyncIterator[int]:
    """A registry that speaks HTTPS, and sends who wants a layer to its other name in plain HTTP."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority)
    plain = free_port()
    weights = (ROOT / "tests/models/tiny.gguf").read_bytes()
    app = Registry(Settings(blob_host=f"localhost:{plain}"), weights).app()
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "localhost", plain).start()
    await web.TCPSite(runner, "127.0.0.1", port := free_port(), ssl_context=context).start()
    yield port
    await runner.cleanup()


@pytest.fixture
async def proxy(registry_port: int) -> AsyncIterator[Proxy]:
    """It leads to the registry, whatever host it is asked for."""
    found = Proxy()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        found.asked.append(head.split(b"\r\n")[0].decode())
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        there, back = await asyncio.open_connection("127.0.0.1", registry_port)
        await asyncio.gather(_copy(reader, back), _copy(there, writer))

    async with await asyncio.start_server(connect, "127.0.0.1", 0) as front:
        found.port = front.sockets[0].getsockname()[1]
        yield found


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def serving(binary: Path, home: Path, variables: dict[str, str]) -> AsyncIterator[str]:
    """The origin of an Ollama with nothing but these variables for its way out."""
    address = f"127.0.0.1:{free_port()}"
    own = {"HOME": str(home), "OLLAMA_HOST": address, "OLLAMA_MODELS": str(home / "models")}
    running = await asyncio.create_subprocess_exec(
        binary, "serve", env={**own, **variables}, stdout=DEVNULL, stderr=DEVNULL
    )
    try:
        yield f"http://{address}"
    finally:
        running.kill()
        await running.wait()


def environment(proxy: Proxy, bundle: Path | None) -> dict[str, str]:
    """What the operator writes, with the mounted folder where this machine has it."""
    pull = {"proxy": {"https": proxy.url}} | ({"caBundle": {"name": "ca"}} if bundle else {})
    wanted = way.environment(parsed(resource(pull=pull)))
    return {name: value.replace(way.CA_PATH, str(bundle)) for name, value in wanted.items()}


def mounted(folder: Path, authority: Path) -> Path:
    """A key of a ConfigMap as kubelet mounts it: a link to a link's folder."""
    (folder / "..rev").mkdir(parents=True)
    certificate = authority.read_text().partition("-----BEGIN PRIVATE KEY")[0]
    (folder / "..rev/ca.crt").write_text(certificate)
    (folder / "..data").symlink_to("..rev")
    (folder / "ca.crt").symlink_to("..data/ca.crt")
    return folder


async def pulled(binary: Path, home: Path, variables: dict[str, str]) -> Failure | None:
    """What the Job's container makes of it; it waits for Ollama first."""
    async with serving(binary, home, variables) as origin, Ollama(origin) as client:
        wanted = Wanted((ExpectedModel(MODEL),), insecure=False)
        return await Job(wanted, client, Puller(client, delays=(0.01,))).run()


async def test_pull_by_proxy_with_a_private_authority(
    ollama_binary: Path, proxy: Proxy, authority: Path, tmp_path: Path
) -> None:
    """`pull.proxy` and `pull.caBundle`: Ollama goes that way, and loopback not by the proxy."""
    bundle = mounted(tmp_path / "ca", authority)
    failure = await pulled(ollama_binary, tmp_path, environment(proxy, bundle))

    assert failure is None
    assert set(proxy.asked) == {f"CONNECT {HOST}:443 HTTP/1.1"}


async def test_without_the_bundle_nobody_trusts_it(
    ollama_binary: Path, proxy: Proxy, tmp_path: Path
) -> None:
    """The test above can fail: without `pull.caBundle`, Ollama refuses the registry."""
    failure = await pulled(ollama_binary, tmp_path, environment(proxy, None))

    assert failure is not None
    assert "certificate signed by unknown authority" in failure.message
    assert proxy.asked
