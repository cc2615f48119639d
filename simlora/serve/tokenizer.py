"""The tokenizer of a model's folder, as the library `tokenizers` runs it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from simlora.errors import UserError
from simlora.serve.bodies import Message
from simlora.serve.chat_template import ChatTemplate, load_chat_template
from simlora.serve.problems import invalid
from simlora.serve.text import Decoder, Text, Wordwise

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TOKENIZER = "tokenizer.json"
_UNKNOWN = "\ufffd"  # what bytes are decoded to that are no whole character


def open_text(folder: Path | None, vocabulary: int) -> Text:
    """What texts are to the model in a folder; without a `tokenizer.json` they are words. Raises
    UserError for files that cannot be read."""
    if folder is None or not (folder / TOKENIZER).is_file():
        return Wordwise(vocabulary)
    path = folder / TOKENIZER
    try:
        from tokenizers import Tokenizer
    except ModuleNotFoundError:
        raise UserError(
            f"{path}: to use it needs the package tokenizers; pip install 'simlora[serve]'"
        ) from None
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing more special
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: cannot be read as a tokenizer: {reason}") from None
    # What a file says about batches for training is not meant for prompts.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return Tokenized(tokenizer, load_chat_template(folder))


class Tokenized:
    """Texts by a tokenizer, chats by a template."""

    def __init__(self, tokenizer: Tokenizer, template: ChatTemplate | None) -> None:
        self._tokenizer = tokenizer
        self._template = template
        self._longest_chars = max(map(len, tokenizer.get_vocab()), default=1)

    def prompt(self, text: str, most: int | None = None) -> list[int]:
        """The tokens of a text, with those that the tokenizer puts around it. Raises Problem (400)
        for one of more characters than `most` of the vocabulary's longest token."""
        self._check_length("prompt", len(text), most)
        return self._encode(text, special=True)

    def chat(self, messages: Sequence[Message], most: int | None = None) -> list[int]:
        """The same of a chat. Raises Problem (400), too, if the template takes no such one, or
        there is none."""
        if self._template is None:
            raise invalid(
                "messages: the model has no chat template; ask /v1/completions", "no_chat_template"
            )
        chars = sum(len(message.content) + len(message.role) for message in messages)
        self._check_length("messages", chars, most)
        return self._encode(self._template.render(messages), special=False)

    def _check_length(self, field: str, chars: int, most: int | None) -> None:
        """A text of so many characters is not tokenized to learn that it has too many tokens."""
        if most is not None and chars > most * self._longest_chars:
            raise invalid(
                f"{field}: has {chars} characters, allowed are {most * self._longest_chars}: "
                f"{most} tokens of at most {self._longest_chars}",
                "context_length_exceeded",
            )

    def _encode(self, text: str, *, special: bool) -> list[int]:
        # The library lets other threads run during a batch, but not during a single text.
        (encoding,) = self._tokenizer.encode_batch([text], add_special_tokens=special)
        return list(encoding.ids)

    def decoder(self) -> Decoder:
        """For a new answer."""
        return TokenDecoder(self._tokenizer)


class TokenDecoder:
    """Text token by token, never half a character.

    What a token adds depends on those before it (a space between words, bytes that make up one
    character), so it is what the text of the last few tokens grows by with it. The library's
    DecodeStream does so, too, but fails where bytes are no character at all, and tells at the end
    nothing of what it has held back.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._tokens: list[int] = []  # from those on whose text the next one's depends
        self._told = 0  # of them
        self._before = ""  # the text of these

    def add(self, token: int) -> str:
        """What the text grows by: nothing if it now ends within a character."""
        self._tokens.append(token)
        text = self._tokenizer.decode(self._tokens)
        if text == self._before:  # a special token, which is no text
            self._tokens.pop()
            return ""
        if text.endswith(_UNKNOWN) or len(text) <= len(self._before):
            return ""
        said = text[len(self._before) :]
        self._tokens = self._tokens[self._told :]
        self._told = len(self._tokens)
        self._before = self._tokenizer.decode(self._tokens)
        return said

    def rest(self) -> str:
        """What was held back, up to where a character is cut off."""
        return self._tokenizer.decode(self._tokens)[len(self._before) :].rstrip(_UNKNOWN)
