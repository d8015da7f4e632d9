"""Starting the operator: what is wrong is one line and an exit status, never a traceback."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from unit.operator_runtime.fakeapi import refusal

OPERATOR = Path(__file__).parents[3] / "operator"
IMAGES = {"GATE_IMAGE": "gate:1", "OLLAMA_IMAGE": "ollama:1", "OLLAMA_ROCM_IMAGE": "ollama:1-rocm"}


async def start(tmp_path: Path, **environ: str) -> tuple[int | None, str]:
    """Exit status and output of `python -m ollamaserve_operator` without a service account."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "ollamaserve_operator",
        env={"PYTHONPATH": os.fspath(OPERATOR), "HOME": os.fspath(tmp_path)} | environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await asyncio.wait_for(process.communicate(), 30)
    return process.returncode, output.decode()


def kubeconfig(folder: Path, server: str) -> Path:
    config = {
        "current-context": "x",
        "clusters": [{"name": "x", "cluster": {"server": server}}],
        "users": [{"name": "x", "user": {"token": "t"}}],
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
    }
    path = folder / "kubeconfig"
    path.write_text(json.dumps(config))  # JSON is YAML
    return path


@pytest.fixture
async def empty_cluster(tmp_path: Path) -> AsyncIterator[Path]:
    """The kubeconfig of an API server that knows no kind at all."""
    code, _, body = refusal(404, "NotFound", "the server could not find the requested resource")

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(status=code, body=body)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    path = kubeconfig(tmp_path, f"http://127.0.0.1:{runner.addresses[0][1]}")
    yield path
    await runner.cleanup()


async def test_without_an_image_it_says_which_variable_to_set(tmp_path: Path) -> None:
    """Exit status 2."""
    assert await start(tmp_path) == (
        2,
        "GATE_IMAGE is not set: set it to an image, as deploy/install.yaml does\n",
    )


async def test_without_credentials_it_says_what_to_set(tmp_path: Path) -> None:
    """Exit status 2."""
    code, output = await start(tmp_path, **IMAGES)
    assert (code, output) == (
        2,
        "neither a service account nor a kubeconfig: set KUBECONFIG\n",
    )


async def test_without_the_crd_it_says_what_to_apply(tmp_path: Path, empty_cluster: Path) -> None:
    """Exit status 1: kubelet starts it again, and by then the CRD may be there."""
    code, output = await start(tmp_path, **IMAGES, KUBECONFIG=os.fspath(empty_cluster))
    assert code == 1
    assert output == "the cluster has no OllamaServe: apply deploy/install.yaml first\n"


async def test_without_an_api_server_it_says_so(tmp_path: Path) -> None:
    """Exit status 1, and the reason."""
    path = kubeconfig(tmp_path, "http://127.0.0.1:1")
    code, output = await start(tmp_path, **IMAGES, KUBECONFIG=os.fspath(path))
    assert code == 1
    assert output == "the API server isn't ready: list OllamaServe: ClientConnectorError\n"
