"""Decision 5 on a real Ollama: ready tells the truth, and doesn't flap."""

import struct

from component.status.conftest import Gate, OllamaProcess


def warm(name: str, **more: str) -> dict[str, object]:
    return {"name": name, "warm": True, **more}


async def test_a_pod_becomes_ready_when_its_model_is_there_and_loaded(
    gate: Gate, ollama: OllamaProcess
) -> None:
    """Decision 5: absent, present, loaded, and each is told."""
    gate.configure(warm("tiny"))
    await gate.start()

    seen = await gate.until(lambda status: status["reason"] == "ModelsMissing")
    assert await gate.get("/readyz") == (503, "ModelsMissing: tiny is not there yet")
    assert seen["models"][0]["present"] is False

    await ollama.create("tiny")

    seen = await gate.until(lambda status: status["ready"])
    (model,) = seen["models"]
    assert await gate.get("/readyz") == (200, "Ready: serving")
    assert (model["present"], model["loaded"], model["vramBytes"]) == (True, True, 0)
    assert model["digest"].startswith("sha256:")
    assert seen["acceleration"] == {"device": "cpu", "vramBytes": 0}
    assert seen["tokens"]["names"] == ["AUTH_TOKEN"]


async def test_a_model_in_no_gpu_is_not_accelerated(gate: Gate, model: str) -> None:
    """Decision 5: where a GPU was asked for, falling back to the CPU in silence isn't ready."""
    gate.configure(warm(model), requireAcceleration=True)
    await gate.start()

    seen = await gate.until(lambda status: status["reason"] == "NotAccelerated")

    assert (await gate.get("/readyz"))[0] == 503
    assert seen["models"][0]["loaded"]
    assert seen["acceleration"]["device"] == "cpu"


async def test_another_digest_is_not_the_model(gate: Gate, model: str) -> None:
    """Decision 5: a pin is part of what has to be present."""
    gate.configure(warm(model, digest=f"sha256:{'0' * 64}"))
    await gate.start()

    seen = await gate.until(lambda status: status["reason"] == "DigestMismatch")

    assert f"sha256:{'0' * 64} was asked for" in seen["message"]
    assert not seen["models"][0]["loaded"]


async def test_a_restarted_ollama_has_to_load_again(
    gate: Gate, ollama: OllamaProcess, model: str
) -> None:
    """Decision 5: the latch resets with Ollama, and the gate warms the new one by itself."""
    gate.configure(warm(model))
    await gate.start()
    await gate.until(lambda status: status["ready"])

    await ollama.kill()
    seen = await gate.until(lambda status: not status["ready"])
    assert (seen["reason"], seen["ollama"]["reachable"]) == ("OllamaUnreachable", False)

    await ollama.start()
    seen = await gate.until(lambda status: status["ready"])
    assert seen["models"][0]["loaded"]


async def test_later_losses_are_told_and_take_no_pod_out(
    gate: Gate, ollama: OllamaProcess, model: str
) -> None:
    """Decision 5: any client can unload a model; the status says so, the endpoints stay."""
    gate.configure(warm(model))
    await gate.start()
    await gate.until(lambda status: status["ready"])

    await ollama.ask("/api/generate", model=model, keep_alive=0)

    seen = await gate.until(lambda status: not status["models"][0]["loaded"])
    assert seen["ready"]


async def test_an_added_model_takes_no_pod_out(
    gate: Gate, ollama: OllamaProcess, model: str
) -> None:
    """Decision 4: a longer list is reported as missing at once, and loaded when it is there.

    Its weights are the first one's: Ollama runs both in one runner, under one name.
    """
    gate.configure(warm(model))
    await gate.start()
    await gate.until(lambda status: status["ready"])

    gate.configure(warm(model), warm("added"))

    seen = await gate.until(lambda status: len(status["models"]) == 2)
    assert seen["ready"]
    assert seen["message"] == "serving; meanwhile: added is not there yet"

    await ollama.create("added")

    seen = await gate.until(lambda status: status["models"][1]["loaded"])
    assert (seen["ready"], seen["message"]) == (True, "serving")


async def test_a_gate_with_ephemeral_storage_pulls_by_itself(gate: Gate, registry: str) -> None:
    """Where `pull` is set the gate fetches what is missing, says why it can't, and goes on."""
    wrong, right = f"{registry}/missing/tiny", f"{registry}/slow/tiny"
    gate.configure(warm(wrong), pull={"insecure": True})
    await gate.start()

    seen = await gate.until(lambda status: status["reason"] == "PullFailed")
    assert seen["models"][0]["error"] == "pull model manifest: file does not exist"

    gate.configure(warm(right), pull={"insecure": True})

    seen = await gate.until(lambda status: status["models"][0].get("pulledPercent", 0) > 0)
    assert seen["reason"] == "Pulling"
    await gate.until(lambda status: status["ready"])
    outcomes = (await gate.get("/metrics"))[1]
    assert 'ollamaserve_pulls_total{outcome="ModelNotFound"} 1.0' in outcomes
    assert 'ollamaserve_pulls_total{outcome="Success"} 1.0' in outcomes


async def test_a_model_that_only_embeds_is_warmed_too(gate: Gate, ollama: OllamaProcess) -> None:
    """Ollama refuses to generate with such a model; loading it by an embedding works."""
    await ollama.create("embedder", embedding_only)
    gate.configure(warm("embedder"))
    await gate.start()

    seen = await gate.until(lambda status: status["ready"])

    assert seen["models"][0]["loaded"]


def embedding_only(gguf: bytes) -> bytes:
    """The weights with a pooling type: that is how Ollama knows an embedding model.

    GGUF, version 3: magic, version, number of tensors, number of pairs, then the pairs, each a
    length-prefixed key, a type and a value. 32 more bytes keep the tensors' alignment.
    """
    key, uint32 = b"llama.pooling_type", 4
    pooling = struct.pack(f"<Q{len(key)}sII", len(key), key, uint32, 1)
    name, string = b"general.description", 8
    filler = bytes(-(len(pooling) + 8 + len(name) + 4 + 8) % 32)
    described = struct.pack(f"<Q{len(name)}sIQ", len(name), name, string, len(filler)) + filler
    (pairs,) = struct.unpack_from("<Q", gguf, 16)
    return gguf[:16] + struct.pack("<Q", pairs + 2) + pooling + described + gguf[24:]
