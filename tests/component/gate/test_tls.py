"""TLS on the door (decision G7): the same gate, with a certificate that is followed."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from component.certificates import common_name, mount, private
from component.gate.conftest import opened
from component.gate.rig import BEARER, PATIENCE, TOKEN, Client, Rig
from ollamaserve_dev.certificate import pair

GET = b"GET /api/tags HTTP/1.1\r\nHost: x\r\n" + BEARER + b"\r\n"
REFUSED = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
def mounted(tmp_path: Path) -> Path:
    folder = tmp_path / "tls"
    mount(folder, *pair("first"))
    return folder


@pytest.fixture
async def rig(mounted: Path) -> AsyncIterator[Rig]:
    environ = {"GATE_TLS_CERT": str(mounted / "tls.crt"), "GATE_TLS_KEY": str(mounted / "tls.key")}
    async with opened(AUTH_TOKEN=TOKEN, **environ) as rig:
        yield rig


def trusting() -> ssl.SSLContext:
    """These tests look at the certificate themselves."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def connect(rig: Rig, context: ssl.SSLContext, name: str | None = "") -> Client:
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", rig.gate.port, ssl=context, server_hostname=name
        )
    client = Client(reader, writer)
    rig.clients.append(client)
    return client


def seen(client: Client) -> str:
    certificate = client.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    return common_name(certificate)


def check(rig: Rig) -> bool:
    assert rig.gate.certificate
    return rig.gate.certificate.check()


async def test_a_request_and_its_stream(rig: Rig) -> None:
    """The hot path is the same: a stream passes as it comes, and the connection goes on."""
    client = await connect(rig, trusting())
    for _ in range(2):
        await client.send(GET)
        if len(rig.upstream.connections) == 0:
            server = await rig.upstream.accept()
        await server.until(b"\r\n\r\n")
        await server.send(CHUNKED + b"1\r\na\r\n")
        await client.until(b"\r\na\r\n")
        await server.send(b"1\r\nb\r\n0\r\n\r\n")
        assert await client.until(b"0\r\n\r\n") == b"1\r\nb\r\n0\r\n\r\n"


@pytest.mark.parametrize("name", ["", "gate.example"], ids=["no name", "a name"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_new_certificate_for_new_handshakes(
    rig: Rig, mounted: Path, version: ssl.TLSVersion, name: str
) -> None:
    """A swap of `..data` is served from the next handshake on; streams in flight go on."""
    context = trusting()
    context.minimum_version = context.maximum_version = version
    old = await connect(rig, context, name)
    await old.send(GET)
    server = await rig.upstream.accept()
    await server.until(b"\r\n\r\n")
    await server.send(CHUNKED + b"1\r\na\r\n")
    assert not check(rig)
    mount(mounted, *pair("second"))
    assert check(rig)
    new = await connect(rig, context, name)
    await server.send(b"1\r\nb\r\n0\r\n\r\n")

    assert (seen(old), seen(new)) == ("first", "second")
    assert (await old.answer()).body == b"ab"
    assert (await new.ask(REFUSED)).status == 401


@pytest.mark.parametrize("broken", ["mismatched", "garbage", "missing", "encrypted"])
async def test_a_broken_pair_replaces_nothing(
    rig: Rig, mounted: Path, broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The last good pair stays, and the error says what to do, until a good one is there."""
    cert, key = pair("broken")
    match broken:
        case "mismatched":
            key = pair("another")[1]
        case "garbage":
            cert = b"no certificate"
        case "encrypted":
            from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415 here alone

            key = private(ec.generate_private_key(ec.SECP256R1()), b"secret")
    mount(mounted, cert, key)
    if broken == "missing":
        (mounted / "tls.key").unlink()
    assert not check(rig)
    certificate = rig.gate.certificate
    assert certificate
    assert "GATE_TLS_KEY" in certificate.error
    assert (certificate.reloads, certificate.failures) == (0, 1)
    assert "kept the last good certificate" in caplog.text
    assert seen(await connect(rig, trusting())) == "first"
    (mounted / "tls.key").unlink(missing_ok=True)
    mount(mounted, *pair("good"))
    assert check(rig)

    assert (certificate.error, certificate.reloads) == ("", 1)
    assert seen(await connect(rig, trusting())) == "good"


async def test_no_older_version(rig: Rig) -> None:
    """TLS 1.2 is the oldest that is spoken."""
    context = trusting()
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await connect(rig, context)


async def test_plain_http_is_not_spoken(rig: Rig) -> None:
    """A client without TLS gets no answer that it could take for one."""
    client = await rig.connect()
    await client.send(GET)

    assert b"HTTP/1" not in await client.rest()
    assert not rig.upstream.connections


async def test_a_refused_upload_reads_its_answer(rig: Rig) -> None:
    """P8: TLS can't be half closed, and still the answer arrives before the end."""
    client = await connect(rig, trusting())
    await client.send(
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5000000000\r\n\r\n" + b"x" * 99
    )
    answer = await client.answer("POST")
    assert (answer.status, answer.headers["connection"]) == (401, "close")
    (held,) = rig.gate.clients
    held.sweep(rig.gate.loop.time() + 2)

    assert await client.rest() == b""


async def test_a_truncated_answer_is_seen(rig: Rig) -> None:
    """P19: what Ollama broke off isn't complete over TLS either."""
    client = await connect(rig, trusting())
    await client.send(GET)
    server = await rig.upstream.accept()
    await server.until(b"\r\n\r\n")
    await server.send(CHUNKED + b"1\r\na\r\n")
    await client.until(b"\r\na\r\n")
    server.abort()

    assert await client.rest() == b""


async def test_a_client_that_leaves_is_known_upstream(rig: Rig) -> None:
    """P10: over TLS too, Ollama stops for who has gone."""
    client = await connect(rig, trusting())
    await client.send(GET)
    server = await rig.upstream.accept()
    await server.until(b"\r\n\r\n")
    client.close()

    assert await server.rest() == b""


async def test_a_slow_reader_slows_ollama(rig: Rig) -> None:
    """P11: backpressure passes through the TLS layer."""
    client = await connect(rig, trusting())
    await client.send(GET)
    server = await rig.upstream.accept()
    await server.until(b"\r\n\r\n")
    client.writer.transport.pause_reading()  # type: ignore[attr-defined]
    await server.send(CHUNKED)
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    sending = asyncio.create_task(server.send(chunk * 256 + b"0\r\n\r\n"))
    (held,) = rig.gate.clients
    await rig.settle_until(lambda: held.full)
    assert held.transport.get_write_buffer_size() < 2 << 20
    client.writer.transport.resume_reading()  # type: ignore[attr-defined]
    answer = await client.answer()
    await sending

    assert (len(answer.body), answer.truncated) == (256 * 0x10000, False)


async def test_a_pair_that_vanishes_while_it_is_read(
    rig: Rig, mounted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A swap between two looks at the files is a failed load like any other: the sweep goes on."""

    def vanished(*_: object, **__: object) -> None:
        raise FileNotFoundError(2, "No such file or directory")

    mount(mounted, *pair("second"))
    with monkeypatch.context() as patched:
        patched.setattr(ssl.SSLContext, "load_cert_chain", vanished)
        assert not check(rig)
    certificate = rig.gate.certificate
    assert certificate
    assert certificate.failures == 1
