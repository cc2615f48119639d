"""How answers end, and what of them may be told before it is known whether they do."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from simlora.errors import UserError
from simlora.scenario.catalog.huggingface import read_json
from simlora.scenario.problems import given
from simlora.serve.text import Decoder

STOP, LENGTH = "stop", "length"  # why an answer ended, in OpenAI's words


def eos_tokens(folder: Path | None) -> frozenset[int]:
    """The tokens that end an answer, by the `generation_config.json` of a model's folder or else by
    its `config.json`. None of a model without a folder. Raises UserError."""
    if folder is None:
        return frozenset()
    for name in ("generation_config.json", "config.json"):
        path = folder / name
        if not path.is_file():
            continue
        value: Any = read_json(path, f"a {name}").get("eos_token_id")
        tokens = value if isinstance(value, list) else [value]
        if any(type(token) is not int for token in tokens) and value is not None:
            raise UserError(
                f"{path}: eos_token_id must be a token id or a list of them, not {given(value)}"
            )
        if value is not None:
            return frozenset(tokens)
    return frozenset()


class Speech:
    """What is said of an answer as its tokens come. It ends with a token of `eos`, which says
    nothing, or where one of the `stops` begins, none of which is said; of what might turn out to be
    the beginning of one, nothing is said before that is known. `reason` is why it has ended."""

    def __init__(self, decoder: Decoder, eos: Collection[int], stops: Sequence[str]) -> None:
        self.reason: str | None = None
        self._decoder = decoder
        self._eos = eos
        self._stops = stops
        self._held = ""  # text that may be the beginning of a stop

    def add(self, token: int, *, last: bool) -> str:
        """The next token; it is the last one that was asked for if `last`. Returns what there is to
        say."""
        if token in self._eos:
            self.reason = STOP
        else:
            self._held += self._decoder.add(token)
            if last:
                self.reason = LENGTH
        if self.reason is not None:
            self._held += self._decoder.rest()
        found = [place for stop in self._stops if (place := self._held.find(stop)) >= 0]
        if found:
            self.reason = STOP
            return self._held[: min(found)]
        if self.reason is not None:
            return self._held
        sure = len(self._held) - max((_begun(self._held, stop) for stop in self._stops), default=0)
        said, self._held = self._held[:sure], self._held[sure:]
        return said


def _begun(text: str, stop: str) -> int:
    """How many characters at the end of a text are the beginning of a stop."""
    longest = min(len(stop) - 1, len(text))
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)
