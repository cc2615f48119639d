"""The heap whose keys change rank."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from simlora.serving.fairness.lazy_heap import LazyHeap


@given(seed=st.integers(0, 999), keys=st.integers(1, 60), removals=st.floats(0, 0.4))
def test_the_first_is_always_of_the_least_rank_through_a_thousand_changes(
    seed: int, keys: int, removals: float
) -> None:
    rng = Random(seed)
    heap, model = LazyHeap(), dict[int, tuple[float, ...]]()
    for _ in range(1000):
        key = rng.randrange(keys)
        if key in model and rng.random() < removals:
            heap.remove(key)
            del model[key]
        else:
            model[key] = (rng.randrange(50),)
            heap.put(key, model[key])
        assert list(heap) == list(model)
        if model and rng.random() < 0.1:
            assert heap.first() == min(model, key=lambda each: (model[each], each))
