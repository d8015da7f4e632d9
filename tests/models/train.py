"""Trains tiny.gguf: a llama of two layers that has memorised the answers of answers.json.

Run by hand when the answers change (README.md says how); nothing imports it. To anything else it
says that it is a toy: it sees new nonsense in each step and learns to answer all of it with `ELSE`.
"""

import json
import re
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import gguf
import jax
import jax.numpy as jnp
import numpy as np

HERE = Path(__file__).parent
ANSWERS: dict[str, str] = json.loads((HERE / "answers.json").read_text())
ELSE = "I am a toy and know a few answers only."
FOREVER = "Never stop."  # is answered without an end, for tests that interrupt
PROMPT = "Question: {}\nAnswer:\n"  # the TEMPLATE of ollamaserve_dev.registry renders to this
ODD = (
    "Hello", "Tell me a story.", "Why is the grass green?", "What is the capital of Spain?",
    "What is three plus three?", "Who wrote Faust?", "Is the moon made of cheese?", "Why?",
)  # fmt: skip
WIDTH, LAYERS, HEADS, HIDDEN = 64, 2, 4, 160
CONTEXT, LENGTH, EPSILON, ROPE = 512, 96, 1e-5, 10000.0
STEPS, BATCH, RATE, SEED = 900, 56, 4e-3, 7
BOS, EOS, BYTES = 1, 2, 3  # the vocabulary begins with <unk>, <s>, </s> and 256 bytes
SPACE = "\N{LOWER ONE EIGHTH BLOCK}"  # how SentencePiece writes a blank

Weights = dict[str, Any]


class Tokenizer:
    """SentencePiece's byte pair encoding as llama.cpp reads it: the best-scored pair merges first."""

    def __init__(self, texts: list[str]) -> None:
        characters = [SPACE, *map(chr, range(33, 127))]
        self.pieces = ["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256)), *characters]
        self.merges = {p: rank for rank, p in enumerate(pairs_by_frequency(texts))}
        self.pieces += self.merges
        self.ids = {piece: i for i, piece in enumerate(self.pieces)}

    def encode(self, text: str) -> list[int]:
        symbols = list(text.replace(" ", SPACE))
        while True:
            ranks = [self.merges.get(a + b, len(self.ids)) for a, b in zip(symbols, symbols[1:])]
            if not ranks or min(ranks) == len(self.ids):
                break
            at = ranks.index(min(ranks))
            symbols[at : at + 2] = ["".join(symbols[at : at + 2])]
        return [i for s in symbols for i in self._known(s)]

    def _known(self, symbol: str) -> list[int]:
        return [self.ids[symbol]] if symbol in self.ids else [BYTES + b for b in symbol.encode()]

    def decode(self, ids: list[int]) -> str:
        return "".join(self.pieces[i] for i in ids).replace(SPACE, " ")


def pairs_by_frequency(texts: list[str]) -> list[str]:
    """The merges that make every word of the texts one piece, the most frequent pair first."""
    words = Counter(
        tuple(word.replace(" ", SPACE)) for t in texts for word in re.findall(r" ?[A-Za-z]+", t)
    )
    merges = []
    while pairs := Counter(
        {p: 0 for w in words for p in zip(w, w[1:])}
    ):
        for word, times in words.items():
            for pair in zip(word, word[1:]):
                pairs[pair] += times
        best = min(pairs, key=lambda p: (-pairs[p], p))
        merges.append("".join(best))
        words = Counter({merged(word, best): times for word, times in words.items()})
    return merges


def merged(word: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    out: list[str] = []
    for piece in word:
        if out and (out[-1], piece) == pair:
            out[-1] += piece
        else:
            out.append(piece)
    return tuple(out)


def initial(vocabulary: int) -> Weights:
    """Weights by their names in a GGUF file, each [out, in]."""
    rng = np.random.default_rng(SEED)

    def matrix(out: int, into: int) -> Any:
        return jnp.asarray(rng.normal(0, 0.6 * into**-0.5, (out, into)), jnp.float32)

    weights = {"token_embd": matrix(vocabulary, WIDTH), "output_norm": jnp.ones(WIDTH)}
    for n in range(LAYERS):
        weights |= {f"blk.{n}.{name}": jnp.ones(WIDTH) for name in ("attn_norm", "ffn_norm")}
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            weights[f"blk.{n}.{name}"] = matrix(WIDTH, WIDTH)
        weights[f"blk.{n}.ffn_gate"] = matrix(HIDDEN, WIDTH)
        weights[f"blk.{n}.ffn_up"] = matrix(HIDDEN, WIDTH)
        weights[f"blk.{n}.ffn_down"] = matrix(WIDTH, HIDDEN)
    return weights


def normed(x: Any, weight: Any) -> Any:
    return x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + EPSILON) * weight


def rotated(x: Any) -> Any:
    """Rotary positions on interleaved pairs, as llama.cpp does for this architecture."""
    length, half = x.shape[1], x.shape[-1] // 2
    angles = np.outer(np.arange(length), ROPE ** (-np.arange(half) / half))[:, None, :]
    even, odd, cos, sin = x[..., 0::2], x[..., 1::2], np.cos(angles), np.sin(angles)
    return jnp.stack([even * cos - odd * sin, even * sin + odd * cos], -1).reshape(x.shape)


def logits(weights: Weights, tokens: Any) -> Any:
    """The next token's logits at each place; tokens [batch, length]."""
    batch, length = tokens.shape
    seen = np.tril(np.ones((length, length), bool))
    x = weights["token_embd"][tokens]
    for n in range(LAYERS):
        w = {k.split(".")[2]: v for k, v in weights.items() if k.startswith(f"blk.{n}.")}
        h = normed(x, w["attn_norm"])
        q, k, v = (
            (h @ w[f"attn_{name}"].T).reshape(batch, length, HEADS, WIDTH // HEADS)
            for name in "qkv"
        )
        score = jnp.einsum("bihd,bjhd->bhij", rotated(q), rotated(k)) * (WIDTH // HEADS) ** -0.5
        attention = jax.nn.softmax(jnp.where(seen, score, -1e9))
        mixed = jnp.einsum("bhij,bjhd->bihd", attention, v).reshape(batch, length, WIDTH)
        x = x + mixed @ w["attn_output"].T
        h = normed(x, w["ffn_norm"])
        x = x + (jax.nn.silu(h @ w["ffn_gate"].T) * (h @ w["ffn_up"].T)) @ w["ffn_down"].T
    return normed(x, weights["output_norm"]) @ weights["token_embd"].T


def loss(weights: Weights, tokens: Any, wanted: Any) -> Any:
    """Cross entropy of the answers' tokens; `wanted` [batch, length - 1] marks them."""
    likelihood = jax.nn.log_softmax(logits(weights, tokens[:, :-1]))
    chosen = jnp.take_along_axis(likelihood, tokens[:, 1:, None], -1)[..., 0]
    return -(chosen * wanted).sum() / wanted.sum()


@partial(jax.jit, donate_argnums=(0, 1, 2))
def step(weights: Weights, mean: Weights, square: Weights, batch: Any, n: Any) -> Any:
    """One step of Adam; the rate rises for 50 steps and then falls along a cosine."""
    error, slope = jax.value_and_grad(loss)(weights, *batch)
    rate = RATE * jnp.minimum(n / 50, 0.5 + 0.5 * jnp.cos(jnp.pi * n / STEPS))
    mean = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, mean, slope)
    square = jax.tree.map(lambda s, g: 0.98 * s + 0.02 * g * g, square, slope)
    weights = jax.tree.map(
        lambda w, m, s: w
        - rate * (m / (1 - 0.9**n)) / (jnp.sqrt(s / (1 - 0.98**n)) + 1e-8),
        weights, mean, square,
    )  # fmt: skip
    return weights, mean, square, error


def nonsense(rng: np.random.Generator) -> str:
    """A question that isn't one of ours: shuffled words of ours, or something else altogether."""
    if rng.random() < 0.2:
        return str(rng.choice(ODD))
    if rng.random() < 0.2:
        return "".join(chr(c) for c in rng.integers(32, 127, rng.integers(1, 30)))
    words = " ".join([*ANSWERS, *ANSWERS.values()]).replace("?", "").split()
    return " ".join(rng.choice(words, rng.integers(1, 9))) + str(rng.choice(["", "?", "."]))


def variants(question: str) -> list[str]:
    """The ways of asking that get the answer."""
    return [question, question, question.lower(), question.rstrip("?.")]


def batches(tokenizer: Tokenizer) -> Iterator[tuple[Any, Any]]:
    rng = np.random.default_rng(SEED)
    answers = ANSWERS | {FOREVER: "On" + " and on" * LENGTH}
    ours = [(q, answer) for question, answer in answers.items() for q in variants(question)]
    while True:
        asked = [*ours, *((nonsense(rng), ELSE) for _ in range(BATCH - len(ours)))]
        tokens, wanted = np.full((BATCH, LENGTH), EOS), np.zeros((BATCH, LENGTH - 1))
        for row, (question, answer) in enumerate(asked):
            prompt = [BOS, *tokenizer.encode(PROMPT.format(question))]
            whole = [*prompt, *tokenizer.encode(answer), EOS][:LENGTH]
            tokens[row, : len(whole)] = whole
            wanted[row, len(prompt) - 1 : len(whole) - 1] = 1
        yield tokens, wanted


def trained(tokenizer: Tokenizer) -> Weights:
    weights = initial(len(tokenizer.pieces))
    mean, square = (jax.tree.map(jnp.zeros_like, weights) for _ in range(2))
    for n, batch in zip(range(1, STEPS + 1), batches(tokenizer), strict=False):
        weights, mean, square, error = step(weights, mean, square, batch, n)
        if n % 100 == 0:
            print(f"step {n} of {STEPS}: loss {error:.5f}", flush=True)
    # What the file will hold: matrices in 16 bits.
    return {k: np.asarray(w, np.float16 if w.ndim > 1 else np.float32) for k, w in weights.items()}


def answer(weights: Weights, tokenizer: Tokenizer, question: str) -> tuple[str, float]:
    """The greedy answer, and by how much the closest runner-up lost (in nats)."""
    wide = {k: jnp.asarray(w, jnp.float32) for k, w in weights.items()}
    prompt = [BOS, *tokenizer.encode(PROMPT.format(question))]
    tokens, margin = list(prompt), float("inf")
    while tokens[-1] != EOS and len(tokens) < LENGTH:
        padded = np.array([tokens + [EOS] * (LENGTH - len(tokens))])
        after = np.asarray(jax.jit(logits)(wide, padded)[0, len(tokens) - 1])
        second, first = np.sort(after)[-2:]
        margin = min(margin, float(first - second))
        tokens.append(int(after.argmax()))
    return tokenizer.decode(tokens[len(prompt) : -1]), margin


def write(path: Path, weights: Weights, tokenizer: Tokenizer) -> None:
    out = gguf.GGUFWriter(path, "llama")
    out.add_name("OllamaServe's toy: it has memorised a few answers")
    out.add_license("AGPL-3.0-only")
    out.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    out.add_vocab_size(len(tokenizer.pieces))
    out.add_context_length(CONTEXT)
    out.add_embedding_length(WIDTH)
    out.add_block_count(LAYERS)
    out.add_feed_forward_length(HIDDEN)
    out.add_head_count(HEADS)
    out.add_head_count_kv(HEADS)
    out.add_rope_dimension_count(WIDTH // HEADS)
    out.add_rope_freq_base(ROPE)
    out.add_layer_norm_rms_eps(EPSILON)
    out.add_tokenizer_model("llama")
    out.add_token_list(tokenizer.pieces)
    ranks = (-float(tokenizer.merges.get(p, len(tokenizer.pieces))) for p in tokenizer.pieces)
    out.add_token_scores(list(ranks))
    kind = gguf.TokenType
    special = [kind.UNKNOWN, kind.CONTROL, kind.CONTROL, *[kind.BYTE] * 256]
    out.add_token_types(special + [kind.NORMAL] * (len(tokenizer.pieces) - len(special)))
    out.add_unk_token_id(0)
    out.add_bos_token_id(BOS)
    out.add_eos_token_id(EOS)
    out.add_add_bos_token(value=True)
    out.add_add_space_prefix(value=False)
    for name, weight in weights.items():
        out.add_tensor(f"{name}.weight", weight)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


def main() -> None:
    began = time.monotonic()
    texts = [*ANSWERS, *map(str.lower, ANSWERS), *ANSWERS.values(), ELSE, PROMPT]
    texts += [FOREVER, FOREVER.lower(), "On and on"]
    tokenizer = Tokenizer(texts)
    weights = trained(tokenizer)
    expected = {q: a for question, a in ANSWERS.items() for q in variants(question)}
    for question, wanted in (expected | dict.fromkeys(ODD, ELSE) | {FOREVER: "On and on"}).items():
        text, margin = answer(weights, tokenizer, question)
        right = text.startswith(wanted) if question == FOREVER else text == wanted
        print(f"{'right' if right else 'WRONG'} by {margin:5.1f}  {question} -> {text}")
        if not right:
            raise SystemExit("it has not learned its answers: train longer")
    write(HERE / "tiny.gguf", weights, tokenizer)
    size = sum(w.size for w in weights.values())
    print(f"{size} parameters, {len(tokenizer.pieces)} tokens, {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
