"""The tiny model's vocabulary: bytes, characters, and every word of the texts it is trained on.

Whole words keep the answers short in tokens, and so the tests fast. Pure; for train.py.
"""

import re
from collections import Counter
from itertools import pairwise

BOS, EOS, BYTES = 1, 2, 3  # the vocabulary begins with <unk>, <s>, </s> and 256 bytes
SPACE = "\N{LOWER ONE EIGHTH BLOCK}"  # how SentencePiece writes a blank


class Tokenizer:
    """SentencePiece's byte pair encoding as llama.cpp does it: the best pair merges first."""

    def __init__(self, texts: list[str]) -> None:
        characters = [SPACE, *map(chr, range(33, 127))]
        self.pieces = ["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256)), *characters]
        self.ranks = {p: rank for rank, p in enumerate(pairs_by_frequency(texts))}
        self.pieces += self.ranks
        self.ids = {piece: i for i, piece in enumerate(self.pieces)}

    def encode(self, text: str) -> list[int]:
        symbols = list(text.replace(" ", SPACE))
        while True:
            ranks = [self.ranks.get(a + b, len(self.ids)) for a, b in pairwise(symbols)]
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
    while pairs := Counter({p: 0 for w in words for p in pairwise(w)}):
        for word, times in words.items():
            for pair in pairwise(word):
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
