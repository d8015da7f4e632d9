"""Trains tiny.gguf: a llama of two layers that has memorised the answers of answers.json.

Run by hand when the answers change (README.md says how); nothing imports it. To anything else it
says that it is a toy: it sees new nonsense in each step and learns to answer all of it with `ELSE`.
"""

import json
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from models.llama import Weights, initial, logits, write
from models.tokenizer import BOS, EOS, Tokenizer

HERE = Path(__file__).parent
ANSWERS: dict[str, str] = json.loads((HERE / "answers.json").read_text())
ELSE = "I am a toy and know a few answers only."
FOREVER = "Never stop."  # is answered without an end, for tests that interrupt
PROMPT = "Question: {}\nAnswer:\n"  # the TEMPLATE of ollamaserve_dev.registry renders to this
ODD = (
    "Hello", "Tell me a story.", "Why is the grass green?", "What is the capital of Spain?",
    "What is three plus three?", "Who wrote Faust?", "Is the moon made of cheese?", "Why?",
)  # fmt: skip
LENGTH, STEPS, BATCH, RATE, SEED = 96, 900, 56, 4e-3, 7


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
    weights = initial(len(tokenizer.pieces), SEED)
    mean, square = (jax.tree.map(jnp.zeros_like, weights) for _ in range(2))
    for n, batch in zip(range(1, STEPS + 1), batches(tokenizer), strict=False):
        weights, mean, square, error = step(weights, mean, square, batch, n)
        if n % 100 == 0:
            sys.stdout.write(f"step {n} of {STEPS}: loss {error:.5f}\n")
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


def checked(weights: Weights, tokenizer: Tokenizer) -> Iterator[str]:
    """A line per question, with the margin; ends the program at the first wrong answer."""
    expected = {q: a for question, a in ANSWERS.items() for q in variants(question)}
    for question, wanted in (expected | dict.fromkeys(ODD, ELSE)).items():
        text, margin = answer(weights, tokenizer, question)
        if text != wanted:
            raise SystemExit(f"{question} -> {text}: it hasn't learned its answers, train longer")
        yield f"right by {margin:5.1f}  {question} -> {text}"


def main() -> None:
    began = time.monotonic()
    texts = [*ANSWERS, *map(str.lower, ANSWERS), *ANSWERS.values(), ELSE, PROMPT]
    tokenizer = Tokenizer([*texts, FOREVER, FOREVER.lower(), "On and on"])
    weights = trained(tokenizer)
    sys.stdout.writelines(f"{line}\n" for line in checked(weights, tokenizer))
    write(HERE / "tiny.gguf", weights, tokenizer)
    size = sum(w.size for w in weights.values())
    took = time.monotonic() - began
    sys.stdout.write(f"{size} parameters, {len(tokenizer.pieces)} tokens, {took:.0f} s\n")


if __name__ == "__main__":
    main()
