"""What is refused, over TLS. It has no half-closed connections, so that each takes seconds to end.

All cases go at once therefore, each on a connection of its own.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

from battery import REFUSED, REFUSED_CHUNKS, statuses
from component.differential.rig import BEARER, CANARY, HOST, Rig

CHUNKED = b"POST /ok HTTP/1.1\r\n" + HOST + BEARER + b"Transfer-Encoding: chunked\r\n\r\n"


def test_refused_over_tls(encrypted: Rig) -> None:
    """G1, G7: the same answers as without TLS, then the end, and nothing whole goes upstream."""
    heads = {case: raw.replace(b"%b", HOST + BEARER) for case, raw in REFUSED.items()}
    chunks = {case: CHUNKED + raw for case, raw in REFUSED_CHUNKS.items()}
    encrypted.echo.forget()

    def ask(raw: bytes, *, waits: bool = True) -> tuple[int, str, bytes]:
        with encrypted.connect() as client:
            client.send(raw + CANARY)
            answer = client.answer()
            assert answer
            return answer.status, answer.echo, client.rest() if waits else b""

    with ThreadPoolExecutor(32) as together:
        told = dict(zip(heads, together.map(ask, heads.values()), strict=True))
        # Whose token is valid may go on sending for half a minute.
        of_chunks = list(together.map(partial(ask, waits=False), chunks.values()))
    trial = encrypted.trial([])
    trial.agree()

    wrong = {case: told[case] for case in heads if told[case][0] not in statuses(case)}
    assert not wrong
    assert {answer[1:] for answer in told.values()} == {("", b"")}
    assert of_chunks == [(400, "", b"")] * len(chunks)
    assert not [seen for seen in trial.requests.values() if seen.whole]
    encrypted.serves()
