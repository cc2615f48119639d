"""Between texts and a model's tokens: what there is to know, and how to do without a tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from string import ascii_lowercase, digits
from typing import Protocol

from simlora.serve.bodies import Message
from simlora.serve.words import WORDS, chat_words, split

_DIGITS = digits + ascii_lowercase
_LETTERS = 4  # of a word that counts as one token


class Decoder(Protocol):
    """The text of one answer, token by token."""

    def add(self, token: int) -> str:
        """What the answer's text grows by with its next token."""

    def rest(self) -> str:
        """What was held back, now that there are no more tokens."""


class Text(Protocol):
    """What texts are to a model."""

    def prompt(self, text: str, most: int | None = None) -> list[int]:
        """The tokens of a text, of which there should be at most `most`: of one that has more, at
        least the first `most + 1`. Raises Problem (400) for one that is too long to be read."""

    def chat(self, messages: Sequence[Message], most: int | None = None) -> list[int]:
        """The same of a chat, up to where the assistant's answer begins. Raises Problem (400)."""

    def decoder(self) -> Decoder:
        """For a new answer."""


class Wordwise:
    """A model without a tokenizer: a token is a word of up to four letters, or four letters of a
    longer one. Each token id is told as one word, which stands for it in prompts, too; other words
    stand for ids that are drawn by what they are."""

    def __init__(self, vocabulary: int) -> None:
        self._vocabulary = vocabulary
        self._common = {word: token for token, word in enumerate(WORDS[:vocabulary])}

    def prompt(self, text: str, most: int | None = None) -> list[int]:
        """The tokens of a text; if it has more than `most`, only the first `most + 1`."""
        return [self._token(word) for word in split(text, most)]

    def chat(self, messages: Sequence[Message], most: int | None = None) -> list[int]:
        """The same of a chat, each turn after a token that names its role."""
        return [self._token(word) for word in chat_words(messages, most)]

    def decoder(self) -> Decoder:
        """For a new answer."""
        return _Words()

    def _token(self, word: str) -> int:
        token = self._common.get(word)
        if token is not None:
            return token
        # The words of `word_of` begin with a digit, and those that stand for no id are few.
        if len(word) == _LETTERS and word[0] in digits and all(c in _DIGITS for c in word):
            token = int(word, len(_DIGITS))
            if len(WORDS) <= token < self._vocabulary:
                return token
        drawn = blake2b(word.encode(), digest_size=8).digest()
        return int.from_bytes(drawn, "big") % self._vocabulary


class _Words:
    def __init__(self) -> None:
        self._before = ""  # the first word

    def add(self, token: int) -> str:
        word, self._before = self._before + word_of(token), " "
        return word

    def rest(self) -> str:
        return ""


def word_of(token: int) -> str:
    """The word that a token id is told as: no other id is, up to 466,560 of them."""
    if token < len(WORDS):
        return WORDS[token]
    word = ""
    while token:
        token, place = divmod(token, len(_DIGITS))
        word = _DIGITS[place] + word
    return word.rjust(_LETTERS, "0")
