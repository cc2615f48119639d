"""Prompts of the asked lengths, as token ids or as text."""

from __future__ import annotations

from simlora.live.openai_options import TEXT
from simlora.live.tokens import TokenSource
from simlora.serving.request import Request

# Ids below are special in many vocabularies, and so are the last ones.
_FIRST_ID = 1000
# Common words of at most four letters, which tokenizers take for one token each, most of them.
_LIST = """
a all and any as at back be big book but by call can car city come cut dark day door down each eat
end far fast few find five for four from full get give go good hand hard have he help her here high
him his home hot hour how idea if in into is it job just keep kind king know land last late law left
let life like line list live long look lot love low make man many map may me mean meet mind more
most move much must my name near need new next nice no not note now of off old on once one only open
or our out over own page part past pay plan play put rain read real rest rich road room run same say
see set she ship show side sign sit six size slow so some song soon stay step stop such sun sure
take talk team tell ten test than that the them then they this time to too town tree true try turn
two up us use very view wait walk wall want war was way we week well what when who will wind with
word work year yes yet you
"""
_WORDS = tuple(_LIST.split())


class Prompts:
    """Draws prompts by a seed; requests that share a prefix in the scenario share it here."""

    def __init__(self, form: str, vocabulary: int, seed: int, block_tokens: int) -> None:
        self._text = form == TEXT
        self._first = min(_FIRST_ID, vocabulary // 4)
        kinds = len(_WORDS) if self._text else max(1, vocabulary // 2)
        self._tokens = TokenSource(kinds, seed, block_tokens)

    def prompt(self, request: Request) -> str | list[int]:
        """The prompt of a request."""
        drawn = self._tokens.script(request).tokens[: request.prompt_tokens].tolist()
        if self._text:
            return " ".join([_WORDS[token] for token in drawn])
        return [self._first + token for token in drawn]
