"""Between texts and tokens: nothing is lost, and nobody is told half a character."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from simlora.errors import UserError
from simlora.serve.bodies import Message
from simlora.serve.chat_template import load_chat_template
from simlora.serve.ends import LENGTH, STOP, Speech, eos_tokens
from simlora.serve.problems import Problem
from simlora.serve.text import Wordwise, word_of
from simlora.serve.tokenizer import TokenDecoder, open_text
from simlora.serve.words import WORDS, PrefixChain, split
from tests.unit.serve.embedding import BOS, EOS, VOCABULARY, tokenizer, write_config, write_texts

BYTES = tokenizer()
TEXTS = st.text(st.characters(codec="utf-8"), max_size=40)


def pieces(made: Tokenizer, tokens: list[int]) -> list[str]:
    """What a client is told with each token, and at the end."""
    decoder = TokenDecoder(made)
    return [*(decoder.add(token) for token in tokens), decoder.rest()]


@given(TEXTS)
def test_a_text_comes_out_as_it_went_in_and_never_by_half_a_character(text: str) -> None:
    told = pieces(BYTES, BYTES.encode(text).ids)
    assert "".join(told) == text.rstrip("\ufffd")
    assert "\ufffd" in text or not any("\ufffd" in piece for piece in told)


@given(st.lists(st.integers(0, VOCABULARY - 1), max_size=30))
def test_whatever_a_model_says_is_told_as_if_it_were_told_at_once(tokens: list[int]) -> None:
    """Bytes that are no character, special tokens, and ids that the tokenizer does not know."""
    assert "".join(pieces(BYTES, tokens)) == BYTES.decode(tokens).rstrip("\ufffd")


def test_a_character_of_several_tokens_is_told_with_the_last_of_them() -> None:
    bare = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet())}, merges=[]))
    bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bare.decoder = decoders.ByteLevel()
    tokens = bare.encode("é🙂a").ids
    assert pieces(bare, tokens) == ["", "é", "", "", "", "🙂", "a", ""]
    assert pieces(bare, tokens[:4]) == ["", "é", "", "", ""]  # cut off: not told at all


def alphabet() -> list[str]:
    return sorted(pre_tokenizers.ByteLevel.alphabet())


def test_spaces_between_words_are_told_where_the_tokenizer_takes_the_first_one_off() -> None:
    """As those made with SentencePiece do, whose bytes are tokens of their own."""
    words = ["<unk>", "▁the", "▁cat", "s", "<0xC3>", "<0xA9>"]
    vocabulary = {word: number for number, word in enumerate(words)}
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    made.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    assert pieces(made, [1, 2, 3, 4, 5, 1, 4]) == ["the", " cat", "s", "", "é", " the", "", ""]


# --- words ---------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 152_063), max_size=20))
def test_answers_without_a_tokenizer_are_prompts_of_the_same_tokens(tokens: list[int]) -> None:
    text = Wordwise(152_064)
    decoder = text.decoder()
    told = "".join(decoder.add(token) for token in tokens) + decoder.rest()
    assert len(split(told)) == len(tokens)
    assert text.prompt(told) == tokens


def test_every_id_has_a_word_of_its_own() -> None:
    words = {word_of(token) for token in range(200_000)}
    assert len(words) == 200_000
    assert all(split(word) == [word] for word in words)


@given(TEXTS, st.integers(1, 500))
def test_every_text_has_tokens_of_the_vocabulary_always_the_same(text: str, size: int) -> None:
    tokens = Wordwise(size).prompt(text)
    assert len(tokens) == len(split(text))
    assert all(0 <= token < size for token in tokens)
    assert tokens == Wordwise(size).prompt(text)


def test_words_of_ids_that_a_small_vocabulary_has_not_are_words_like_others() -> None:
    assert Wordwise(150).prompt(word_of(149)) == [149]
    assert 0 <= Wordwise(150).prompt(word_of(150))[0] < 150
    assert 0 <= Wordwise(10).prompt(WORDS[50])[0] < 10


# --- ends ----------------------------------------------------------------------------------


def say(tokens: list[str], *stops: str, eos: frozenset[int] = frozenset()) -> tuple[list[str], Any]:
    """What is told of an answer whose tokens are these texts."""

    class Texts:
        def add(self, token: int) -> str:
            return tokens[token]

        def rest(self) -> str:
            return ""

    speech, told = Speech(Texts(), eos, stops), []
    for token in range(len(tokens)):
        told.append(speech.add(token, last=token == len(tokens) - 1))
        if speech.reason is not None:
            break
    return told, speech.reason


@pytest.mark.parametrize(
    ("tokens", "stops", "told", "reason"),
    [
        (["a", "b"], [], ["a", "b"], LENGTH),
        (["a", "b", "c"], ["b"], ["a", ""], STOP),
        (["a", "b", "c", "d"], ["bc"], ["a", "", ""], STOP),
        (["a", "b", "x", "d"], ["bc"], ["a", "", "bx", "d"], LENGTH),
        (["ab", "ab", "c"], ["abc"], ["", "ab", ""], STOP),
        (["a", "a", "a", "b"], ["aab"], ["", "", "a", ""], STOP),
        (["xyz"], ["z", "y"], ["x"], STOP),
        (["one", " tw", "o", " three"], ["two", " t"], ["one", ""], STOP),
        (["ab"], ["abc"], ["ab"], LENGTH),
        (["a", "END"], ["END"], ["a", ""], STOP),
        (["a", "E", "N"], ["END"], ["a", "", "EN"], LENGTH),
    ],
)
def test_an_answer_ends_before_the_first_stop_in_it(
    tokens: list[str], stops: list[str], told: list[str], reason: str
) -> None:
    assert say(tokens, *stops) == (told, reason)


@given(
    st.lists(st.text("ab", max_size=3), min_size=1, max_size=12),
    st.lists(st.text("ab", min_size=1, max_size=4), max_size=3),
)
def test_what_is_told_is_the_text_up_to_the_first_stop(tokens: list[str], stops: list[str]) -> None:
    """Whatever stops begin within each other, and wherever tokens cut them."""
    text, told = "".join(tokens), "".join(say(tokens, *stops)[0])
    assert not any(stop in told for stop in stops)
    found = [stop for stop in stops if stop in text]
    assert text.startswith(told)
    if not found:
        assert told == text
    else:
        assert any(text.startswith(stop, len(told)) for stop in found)


class Counted(str):
    """A text that knows how often something was cut out of it."""

    cuts = 0

    def __getitem__(self, key: Any) -> str:
        type(self).cuts += 1
        return super().__getitem__(key)


def test_a_long_stop_costs_no_more_than_what_of_it_may_have_begun() -> None:
    assert say(["a", "b", "x"], Counted("x" * 1000))[0] == ["a", "b", "x"]
    assert Counted.cuts == 2  # one for each letter before the last


def test_a_token_that_ends_answers_says_nothing() -> None:
    assert say(["a", "</s>", "b"], eos=frozenset([1])) == (["a", ""], STOP)
    assert say(["a", "b"], eos=frozenset([1])) == (["a", ""], STOP)  # the last one, too
    assert say(["a", "E", "</s>"], "END", eos=frozenset([2])) == (["a", "", "E"], STOP)


@pytest.mark.parametrize(
    ("generation", "config", "expected"),
    [
        (None, {}, set()),
        (None, {"eos_token_id": 3}, {3}),
        ({"eos_token_id": [3, 4]}, {"eos_token_id": 5}, {3, 4}),
        ({"temperature": 0.6}, {"eos_token_id": 5}, {5}),
        ({"eos_token_id": None}, {"eos_token_id": [5, 6]}, {5, 6}),
    ],
)
def test_the_tokens_that_end_answers_are_the_generation_configs_or_the_configs(
    generation: dict[str, Any] | None, config: dict[str, Any], expected: set[int], tmp_path: Path
) -> None:
    write_config(tmp_path, **config)
    if generation is not None:
        (tmp_path / "generation_config.json").write_text(json.dumps(generation))
    assert eos_tokens(tmp_path) == expected
    assert eos_tokens(None) == set()


# --- files ---------------------------------------------------------------------------------


@pytest.mark.parametrize("odd", ['"</s>"', "[1, true]", "{}", "1.5"])
def test_an_end_that_is_no_token_is_one_sentence(odd: str, tmp_path: Path) -> None:
    (write_config(tmp_path) / "generation_config.json").write_text(f'{{"eos_token_id": {odd}}}')
    with pytest.raises(UserError, match=r"generation_config.json: eos_token_id must be a token id"):
        eos_tokens(tmp_path)


def test_a_tokenizer_that_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text('{"model": 3}')
    with pytest.raises(UserError, match=r"tokenizer.json: cannot be read as a tokenizer: ") as told:
        open_text(tmp_path, VOCABULARY)
    assert "\n" not in str(told.value)


def test_a_tokenizer_that_cuts_and_pads_for_training_does_not_for_prompts(tmp_path: Path) -> None:
    made = write_texts(tmp_path)
    made.enable_truncation(4)
    made.enable_padding(length=64)
    made.save(str(tmp_path / "tokenizer.json"))
    text = open_text(tmp_path, VOCABULARY)
    assert text.prompt("the cat sat on the mat today") == BYTES.encode(CAT).ids
    assert len(BYTES.encode(CAT).ids) > 4


CAT = "the cat sat on the mat today"
HI = [Message(role="user", content="hi")]


def render(folder: Path, config: dict[str, Any], messages: list[Message] = HI) -> str:
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    template = load_chat_template(folder)
    assert template is not None
    return template.render(messages)


def test_a_template_may_be_a_text_one_of_several_or_a_file(tmp_path: Path) -> None:
    several = [{"name": "tools", "template": "x"}, {"name": "default", "template": "one of them"}]
    assert render(tmp_path, {"chat_template": "{{ messages[0].content }}"}) == "hi"
    assert render(tmp_path, {"chat_template": several}) == "one of them"
    (tmp_path / "chat_template.jinja").write_text("a file")
    assert render(tmp_path, {"chat_template": "x"}) == "a file"


def test_a_folder_without_a_template_has_none(tmp_path: Path) -> None:
    assert load_chat_template(tmp_path) is None
    (tmp_path / "tokenizer_config.json").write_text('{"bos_token": "<s>"}')
    assert load_chat_template(tmp_path) is None


@pytest.mark.parametrize(
    "template",
    [
        "{{ bos_token }}{{ messages[0]['content'] }}{{ eos_token }}",
        "{% for m in messages %}\n  {% if m %}\n{{ m.content }}\n  {% endif %}\n{% endfor %}\n",
        "{% if add_generation_prompt %}go{% endif %}{% if tools is not none %}x{% endif %}",
        "{{ messages | tojson }}{{ {'a': '<é>'} | tojson(indent=2) }}",
        "{% for m in messages %}{% break %}{% endfor %}done",
        "{% generation %}{{ messages[0].content }}{% endgeneration %}",
        "{% set a = namespace(n=0) %}{% for m in messages %}{% set a.n = 5 %}{% endfor %}{{ a.n }}",
        "{{ strftime_now('%Y') | length }}{{ messages[0].content | trim | upper }}",
    ],
)
def test_templates_give_what_transformers_makes_of_them(template: str, tmp_path: Path) -> None:
    from tests.verification.hf_models import transformers

    write_texts(tmp_path, template)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    messages = [Message(role="user", content=" hé <b>\n"), Message(role="assistant", content="y")]
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path).apply_chat_template(
        [message.model_dump() for message in messages], add_generation_prompt=True, tokenize=False
    )
    assert render(tmp_path, config, messages) == theirs


@pytest.mark.parametrize(
    "template",
    [
        "{{ raise_exception('no') }}",
        "{{ messages[5].content }}",
        "{{ messages[0].content + 3 }}",
        "{{ messages.append(3) }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{% for i in range(10**9) %}x{% endfor %}",
    ],
)
def test_a_template_that_fails_or_reaches_out_is_a_refusal(template: str, tmp_path: Path) -> None:
    with pytest.raises(Problem, match="chat template does not take them") as told:
        render(tmp_path, {"chat_template": template})
    assert told.value.status == 400
    assert "\n" not in str(told.value)


def test_a_template_that_is_none_is_told_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"tokenizer_config.json: the chat template is no template"):
        render(tmp_path, {"chat_template": "{% for %}"})
    with pytest.raises(UserError, match="chat_template must be a text"):
        render(tmp_path, {"chat_template": 3})


def test_a_chat_is_not_given_the_tokens_around_a_prompt_twice(tmp_path: Path) -> None:
    write_texts(tmp_path, "{{ bos_token }}{{ messages[0].content }}")
    ids = open_text(tmp_path, VOCABULARY).chat(HI)
    assert ids == BYTES.encode("hi").ids
    assert [BYTES.id_to_token(token) for token in ids].count(BOS) == 1
    assert EOS not in BYTES.decode(ids, skip_special_tokens=False)


@given(st.lists(st.integers(0, 9), max_size=40), st.integers(1, 5), st.integers(0, 40))
def test_hashes_of_a_growing_sequence_are_those_of_the_whole(
    tokens: list[int], block: int, cut: int
) -> None:
    whole, grown = PrefixChain(block), PrefixChain(block)
    whole.add(tokens)
    grown.add(tokens[:cut])
    for token in tokens[cut:]:
        grown.add([token])
    assert whole.hashes == grown.hashes
    assert len(whole.hashes) == len(tokens) // block == len(set(whole.hashes))
