"""What requests say: equal prefixes are equal tokens."""

from __future__ import annotations

from simlora.live.tokens import TokenSource
from simlora.serving.request import Request

SOURCE = TokenSource(1000, seed=3, block_tokens=8)


def request(index: int, prompt: int, output: int, hashes: list[int] | None = None) -> Request:
    return Request(index, 0.0, 0, 0, -1, prompt, output, prefix_hashes=hashes)


def test_equal_hashes_are_equal_tokens_and_others_are_others() -> None:
    first = SOURCE.script(request(0, 30, 1, [5, -6, 7]))
    second = SOURCE.script(request(1, 30, 1, [5, -6, 8]))
    assert first.tokens[:16].tolist() == second.tokens[:16].tolist()
    assert first.tokens[16:24].tolist() != second.tokens[16:24].tolist()
    assert first.tokens[24:30].tolist() != second.tokens[24:30].tolist()
    assert (
        first.tokens[8:16].tolist()
        != SOURCE.script(request(2, 16, 1, [5, 6])).tokens[8:16].tolist()
    )


def test_a_prompt_without_hashes_is_drawn_by_seed_and_request() -> None:
    tokens = SOURCE.script(request(4, 50, 9)).tokens[:50].tolist()
    assert tokens == SOURCE.script(request(4, 50, 2)).tokens[:50].tolist()
    assert tokens != SOURCE.script(request(5, 50, 9)).tokens[:50].tolist()
    assert tokens != TokenSource(1000, 4, 8).script(request(4, 50, 9)).tokens[:50].tolist()
    assert min(tokens) >= 0
    assert max(tokens) < 1000


def test_a_copy_for_a_version_on_trial_asks_what_the_request_asks() -> None:
    copy = request(-8, 20, 3)
    copy.turn = 7
    asked = SOURCE.script(request(7, 20, 3)).tokens[:20].tolist()
    assert SOURCE.script(copy).tokens[:20].tolist() == asked


def test_hashes_that_go_on_into_the_answer_give_it() -> None:
    script = SOURCE.script(request(0, 12, 9, [1, 2, 3, 4]))
    assert script.known == len(script.tokens) == 21
    later = SOURCE.script(request(1, 21, 1, [1, 2]))
    assert later.tokens[:16].tolist() == script.tokens[:16].tolist()
    assert SOURCE.script(request(2, 12, 9, [1])).known == 12
