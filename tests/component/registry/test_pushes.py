"""The test registry's own rules for pushes: what it takes, and what it refuses."""

import json
import urllib.request
from hashlib import sha256
from http.client import HTTPResponse
from urllib.error import HTTPError

import pytest

BLOB = b"the content of a blob"
DIGEST = f"sha256:{sha256(BLOB).hexdigest()}"


def send(method: str, url: str, body: bytes = b"", **headers: str) -> tuple[int, HTTPResponse]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, body, named, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, response
    except HTTPError as refused:
        with refused:
            return refused.code, refused  # type: ignore[return-value]


def begun(room: str, repository: str, query: str = "") -> str:
    status, response = send("POST", f"{room}/v2/{repository}/blobs/uploads/{query}")
    assert status == 202
    return response.headers["Location"]


def manifest(digest: str) -> bytes:
    return json.dumps({"config": {"digest": digest}, "layers": []}).encode()


def test_a_blob_in_pieces(room: str) -> None:
    """Pieces that join make the blob, a manifest of it is taken, and both are handed out."""
    place = begun(room, "a/pushed")
    assert send("PATCH", place, BLOB[:5], Content_Range="0-4")[0] == 202
    assert send("PATCH", place, BLOB[5:], Content_Range=f"5-{len(BLOB) - 1}")[0] == 202
    assert send("PUT", f"{place}?digest={DIGEST}")[0] == 201

    assert send("HEAD", f"{room}/v2/a/pushed/blobs/{DIGEST}")[0] == 200
    assert send("PUT", f"{room}/v2/a/pushed/manifests/one", manifest(DIGEST))[0] == 201
    assert send("GET", f"{room}/v2/a/pushed/manifests/one")[0] == 200
    assert send("GET", f"{room}/v2/a/pushed/manifests/two")[0] == 404


def test_a_mount(room: str) -> None:
    """A blob of another repository needs no upload; here it isn't before it was mounted."""
    place = begun(room, "b/pushed-1")
    assert send("PUT", f"{place}?digest={DIGEST}", BLOB)[0] == 201
    assert send("HEAD", f"{room}/v2/b/pushed-2/blobs/{DIGEST}")[0] == 404
    mount = f"{room}/v2/b/pushed-2/blobs/uploads/?mount={DIGEST}&from=b/pushed-1"
    assert send("POST", mount)[0] == 201

    assert send("HEAD", f"{room}/v2/b/pushed-2/blobs/{DIGEST}")[0] == 200


@pytest.mark.parametrize("asked", ["1-21", "0-3", ""], ids=["a gap", "another length", "none"])
def test_pieces_must_join(room: str, asked: str) -> None:
    """416 for a piece that isn't what the range says, or begins elsewhere."""
    assert send("PATCH", begun(room, "c/pushed"), BLOB, Content_Range=asked)[0] == 416


def test_digests_are_verified(room: str) -> None:
    """400 for other content, and for a manifest whose blobs aren't there; 404 without an upload."""
    place = begun(room, "d/pushed")
    assert send("PUT", f"{place}?digest={DIGEST}", BLOB + b"!")[0] == 400
    assert send("PUT", f"{room}/v2/d/pushed/manifests/one", manifest(DIGEST))[0] == 400
    assert send("PUT", f"{room}/v2/d/pushed/manifests/one", b"{}")[0] == 400
    assert (
        send("PATCH", f"{room}/v2/d/pushed/blobs/uploads/0", BLOB, Content_Range="0-20")[0] == 404
    )


def test_other_names_take_nothing(room: str) -> None:
    """What the registry makes up by itself can't be written."""
    assert send("POST", f"{room}/v2/library/tiny/blobs/uploads/")[0] in (404, 405)
