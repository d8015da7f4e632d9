"""Clients inside the cluster that never stop asking while something happens to the server.

They run in the registry's pod, so that every request takes the way through the Service that a
team's own pods take; a port-forward would stay with one pod.
"""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from e2e.endpoint import Serve
from ollamaserve_dev import installation
from ollamaserve_dev.kubectl import Kubectl, until

TOKENS = 1_500  # a stream of so many lives for seconds: long enough to meet the end of its pod
# Each request on a connection of its own, so that every one finds its way anew; ends with stdin.
# Where a token is a line of stdin, the clients go over to it.
ASKING = """
import asyncio, collections, json, sys, threading, aiohttp
url, model, tokens, *token = sys.argv[1:]
tokens, seen, until = int(tokens), collections.Counter(), threading.Event()
def follow():
    for line in sys.stdin:
        token[0] = line.strip()
    until.set()
def headers():
    return {"Authorization": f"Bearer {token[0]}", "Connection": "close"}
async def ask(session):
    async with session.get(url + "/api/tags", headers=headers()) as response:
        await response.read()
        return str(response.status)
async def stream(session):
    body = {"model": model, "prompt": "Never stop.", "options": {"num_predict": tokens}}
    async with session.post(url + "/api/generate", json=body, headers=headers()) as response:
        lines = [line async for line in response.content]
    last = json.loads(lines[-1])
    complete = response.status == 200 and last.get("eval_count") == tokens
    return "whole stream" if complete else f"broken stream: {response.status} {lines[-1][:200]}"
async def again(what):
    while not until.is_set():
        try:
            async with aiohttp.ClientSession() as session:
                seen[await what(session)] += 1
        except (aiohttp.ClientError, OSError, ValueError, IndexError) as error:
            seen[f"{what.__name__}: {type(error).__name__}: {error}"] += 1
async def main():
    print("begun", flush=True)
    threading.Thread(target=follow, daemon=True).start()
    await asyncio.gather(again(ask), again(ask), again(stream), again(stream))
    print(json.dumps(seen))
asyncio.run(main())
"""


@dataclass
class Load:
    """`answers` says, in the end, how often each answer came.

    `200` are short requests, `whole stream` are streams that came to their proper end.
    """

    asker: subprocess.Popen[str]
    answers: dict[str, int] = field(default_factory=dict)

    def use(self, token: str) -> None:
        """From now on ask with this token."""
        assert self.asker.stdin
        self.asker.stdin.write(f"{token}\n")
        self.asker.stdin.flush()


@contextmanager
def asking(everywhere: Kubectl, serve: Serve, model: str) -> Iterator[Load]:
    """Ask while inside."""
    url = f"http://{serve.name}.{serve.kubectl.namespace}.svc:7860"
    words = (url, installation.registry_model(model), str(TOKENS), serve.token())
    command = everywhere.within("models").command(
        *("exec", "--stdin", "deployment/registry", "--", "python3", "-c", ASKING, *words)
    )
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as asker:
        assert asker.stdout
        until("the clients ask", asker.stdout.readline, seconds=30)
        load = Load(asker)
        try:
            yield load
        finally:
            output, _ = asker.communicate(timeout=120)
    load.answers |= json.loads(output)
