"""The gate's load generator sees each token that a proxy of OpenAI streams gets wrong."""

import json
import shutil
import socket
import subprocess
import threading

import pytest

from bench.gate import load

pytestmark = pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler")

TOKENS = [f"00000001{number:08x}" for number in range(4)]
DONE = "data: [DONE]\n\n"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def said(token: str | None) -> str:
    """An event as a proxy may spell it: other spaces, other fields, an own order."""
    delta = {"role": "assistant", "content": token}
    return f"data: {json.dumps({'choices': [{'delta': delta}], 'model': 'm'})}\n\n"


def told(body: str, size: int) -> tuple[int, int, str]:
    """Wrong answers, tokens and trouble of one request answered so, `size` bytes in a chunk."""
    pieces = [body[at : at + size].encode() for at in range(0, len(body), size)]
    chunks = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces]
    with socket.create_server(("127.0.0.1", 0)) as server:
        serving = threading.Thread(target=_answer, args=(server, [HEAD, *chunks, b"0\r\n\r\n"]))
        serving.start()
        plan = ["--method", "POST", "--mode", "deltas", "--chunks", "4", "--pace", "1000"]
        words = [str(load.programs() / "load"), "--port", str(server.getsockname()[1]), *plan]
        done = subprocess.run(words, capture_output=True, check=True, timeout=30)
        serving.join()
    answer = json.loads(done.stdout)
    return answer["wrong"], answer["lines"], answer["trouble"]


def _answer(server: socket.socket, parts: list[bytes]) -> None:
    connection, _ = server.accept()
    with connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.recv(4096)
        for part in parts:
            connection.sendall(part)
        connection.recv(1)


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_any_spelling_and_any_chunks_are_right(size: int) -> None:
    """Comments, empty contents and null ones are no tokens; a token may be cut anywhere."""
    events = [said(""), ": a comment\n\n", *map(said, TOKENS), said(None), DONE]

    assert told("".join(events), size) == (0, 4, "")


@pytest.mark.parametrize(
    "tokens",
    [
        [*TOKENS[:2], "00000001000000ff", TOKENS[3]],
        [*TOKENS[:2], "00000002" + TOKENS[2][8:], TOKENS[3]],
        [*TOKENS[:2], TOKENS[2] + "0", TOKENS[3]],
        [TOKENS[0], *TOKENS[2:]],
        [TOKENS[0], *TOKENS],
        [TOKENS[1], TOKENS[0], *TOKENS[2:]],
        TOKENS[:3],
        [*TOKENS, "0000000100000004"],
    ],
    ids=["changed", "another's", "longer", "dropped", "doubled", "swapped", "cut", "one more"],
)
def test_a_token_that_was_not_sent_so_is_told(tokens: list[str]) -> None:
    """Whatever happened to one token, the answer counts as wrong."""
    wrong, _, trouble = told("".join([*map(said, tokens), DONE]), 50)

    assert wrong > 0
    assert "token" in trouble or "length" in trouble


def test_a_stream_without_its_end_is_told() -> None:
    """All tokens and no [DONE]: the client of a real stream would wait."""
    assert told("".join(map(said, TOKENS)), 50)[0] == 1


def test_a_token_after_the_end_is_told() -> None:
    """[DONE] comes last."""
    body = "".join([*map(said, TOKENS[:3]), DONE, said(TOKENS[3])])

    assert told(body, 50)[0] == 1
