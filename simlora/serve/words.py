"""Tokens without a tokenizer: counted in what clients send, made up in what they get."""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import blake2b
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simlora.serve.bodies import Message

# A word is one token if it has at most four letters, else a token for every four: near enough to
# what tokenizers make of English, and of no consequence for anything but the count.
_TOKEN = re.compile(r"\S{1,4}")
# One token each by the rule above: an answer that comes back in a prompt counts the same.
_LIST = """
able area away back base best blue bold book both call calm care case city clay clue code come
core cost dark data dawn deep door down draw each east easy edge even face fair fall fast feel
file find fine fire flow form free full game give glad goal gold good gray grow half hand hard
head hear help here high hill hold home hope idea into iron item join just keep kind king know
lake land last late lead leaf left less life lift like line list live long look main make many
"""
WORDS = tuple(_LIST.split())


def split(text: str, most: int | None = None) -> list[str]:
    """The tokens of a text; if it has more than `most`, only the first `most + 1`."""
    found = _TOKEN.finditer(text)
    return [token[0] for token in islice(found, None if most is None else most + 1)]


def chat_words(messages: Sequence[Message], most: int | None = None) -> list[str]:
    """The tokens of a chat, with what a chat template puts around each turn; if it has more than
    `most`, only the first `most + 1`."""
    words: list[str] = []
    for message in messages:
        if most is not None and len(words) > most:
            return words[: most + 1]
        words += [f"<{message.role}>", *split(message.content, most)]
    return [*words, "<assistant>"][: None if most is None else most + 1]


def answer(number: int, tokens: int) -> list[str]:
    """The words of the `number`-th answer: never the same ones in the same order as its
    neighbours."""
    first, step = number * 37, 1 + number % (len(WORDS) - 1)
    return [WORDS[(first + step * place) % len(WORDS)] for place in range(tokens)]


def prefix_hashes(tokens: Sequence[str], block_tokens: int) -> list[int]:
    """One hash for each whole block of `block_tokens`: equal hashes, equal prefixes."""
    chain = PrefixChain(block_tokens)
    chain.add(tokens)
    return chain.hashes


class PrefixChain:
    """One hash for each whole block of a sequence that grows: equal hashes, equal prefixes. Of 128
    bits, since what is cached under one is served to whoever asks for it."""

    def __init__(self, block_tokens: int) -> None:
        self.hashes: list[int] = []
        self._block_tokens = block_tokens
        self._rest: list[str] = []
        self._digest = b""

    def add(self, tokens: Sequence[object]) -> None:
        """More tokens: words or ids."""
        words, size = [*self._rest, *map(str, tokens)], self._block_tokens
        whole = len(words) - len(words) % size
        for start in range(0, whole, size):
            block = "\0".join(words[start : start + size]).encode()
            self._digest = blake2b(self._digest + block, digest_size=16).digest()
            self.hashes.append(int.from_bytes(self._digest, "big"))
        self._rest = words[whole:]
