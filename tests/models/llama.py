"""The llama architecture, as small as it gets: its weights, its forward pass and its GGUF file.

It must compute what llama.cpp does; the component tests show that it did. For train.py.
"""

from pathlib import Path
from typing import Any

import gguf
import jax
import jax.numpy as jnp
import numpy as np

from models.tokenizer import BOS, EOS, Tokenizer

WIDTH, LAYERS, HEADS, HIDDEN = 64, 2, 4, 160
CONTEXT, EPSILON, ROPE = 512, 1e-5, 10000.0

Weights = dict[str, Any]


def initial(vocabulary: int, seed: int) -> Weights:
    """Weights by their names in a GGUF file, each [out, in]."""
    rng = np.random.default_rng(seed)

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
    ranks = (-float(tokenizer.ranks.get(p, len(tokenizer.pieces))) for p in tokenizer.pieces)
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
