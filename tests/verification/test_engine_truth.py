"""The engine says token for token what transformers and PEFT say of the same files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kernels.accounts import KV
from kernels.lora_stream import LoraModule, pack_adapter
from kernels.shapes import MODULES, ModelShape
from simlora.engine.adapters import LoadedAdapter, load_adapter, save_adapter
from simlora.engine.checkpoint import Checkpoint, load_checkpoint
from simlora.engine.sampling import Sampling, sample
from tests.unit.engine.serving import BLOCK_TOKENS, CPU, MAX_MODEL_LEN, Served, Service
from tests.verification.hf_models import (
    ADAPTERS,
    MODELS,
    Truth,
    warped,
    write_adapter,
    write_model,
)

# transformers uses its own old names.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")

torch.set_num_threads(1)
TOKENS = 7
KINDS = list(ADAPTERS)
NUMBER = {name: number for number, name in enumerate(MODELS)}


@dataclass(frozen=True)
class Files:
    """A model, three adapters for it, and requests with what transformers says to them."""

    model: Path
    adapters: list[Path]
    requests: list[tuple[list[int], int | None, list[int]]]  # prompt, adapter, tokens


def kinds_of(name: str) -> list[str]:
    """Three kinds of adapters; the models take turns, so that all meet all."""
    return list(islice(cycle(KINDS), 3 * NUMBER[name], 3 * NUMBER[name] + 3))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Files]:
    """The files of one of the MODELS, made when first asked for."""

    @cache
    def made(name: str) -> Files:
        folder = tmp_path_factory.mktemp("model")
        number = NUMBER[name]
        write_model(MODELS[name], folder / "base", seed=number)
        adapters = [folder / f"adapter-{each}" for each in range(3)]
        for each, (kind, path) in enumerate(zip(kinds_of(name), adapters, strict=True)):
            write_adapter(folder / "base", kind, path, seed=100 * number + each)
        truth = Truth(folder / "base", adapters)
        rng = np.random.default_rng(number)
        vocabulary = truth.model.config.vocab_size
        requests: list[tuple[list[int], int | None, list[int]]] = []
        for adapter, length in [(0, 21), (None, 9), (1, 14), (2, 5), (0, 17), (None, 30), (2, 11)]:
            prompt = rng.integers(vocabulary, size=length).tolist()
            if requests and adapter == 0:  # two blocks and a bit in common with the first
                prompt[: 2 * BLOCK_TOKENS + 1] = requests[0][0][: 2 * BLOCK_TOKENS + 1]
            requests.append((prompt, adapter, truth.greedy(prompt, TOKENS, adapter)))
        return Files(folder / "base", adapters, requests)

    return made


def serve(checkpoint: Checkpoint, adapters: list[LoadedAdapter]) -> Service:
    shape = checkpoint.shape
    return Service(
        shape, [each.weights for each in adapters], weights=checkpoint.weights, max_num_seqs=7
    )


def load(of: Files) -> Service:
    checkpoint = load_checkpoint(of.model, torch.float32, CPU)
    assert checkpoint.trained
    adapters = [load_adapter(each, checkpoint.shape, torch.float32) for each in of.adapters]
    return serve(checkpoint, adapters)


def alone(service: Service, of: Files) -> list[list[int]]:
    """What is said to each request with nobody beside it."""
    said = []
    for prompt, adapter, _ in of.requests:
        sequence = Served(prompt, adapter)
        service.generate(sequence, TOKENS)
        service.pool.release_blocks(sequence.blocks, KV)
        said.append(sequence.tokens)
    return said


def together(service: Service, of: Files, seed: int) -> list[list[int]]:
    """What is said to all requests at once: chunks of any size beside decodes, at random."""
    rng = np.random.default_rng(seed)
    sequences = [Served(prompt, adapter) for prompt, adapter, _ in of.requests]
    first, sharing = sequences[0], sequences[4]
    service.step([], [(first, 2 * BLOCK_TOKENS + 3), (sequences[1], 2)])
    sharing.blocks = first.blocks[:2]
    sharing.computed = 2 * BLOCK_TOKENS
    while unfinished := [each for each in sequences if len(each.tokens) < TOKENS]:
        picked = [each for each in unfinished if rng.random() < 0.7] or unfinished
        rng.shuffle(picked)  # type: ignore[arg-type]
        chunks = [(each, int(rng.integers(1, each.waiting + 1))) for each in picked if each.waiting]
        service.step([each for each in picked if not each.waiting], chunks)
    return [each.tokens for each in sequences]


def truth(of: Files) -> list[list[int]]:
    return [tokens for _, _, tokens in of.requests]


@pytest.mark.parametrize("name", MODELS)
def test_tokens_are_those_of_transformers_and_peft(
    files: Callable[[str], Files], name: str
) -> None:
    of = files(name)
    service = load(of)
    assert max(len(prompt) for prompt, _, _ in of.requests) + TOKENS <= MAX_MODEL_LEN
    assert alone(service, of) == truth(of)
    assert together(service, of, NUMBER[name]) == truth(of)
    service.pool.check()


def test_every_kind_of_adapter_meets_some_model_and_shards_are_shards(
    files: Callable[[str], Files],
) -> None:
    assert {kind for name in MODELS for kind in kinds_of(name)} == set(ADAPTERS)
    assert len(MODELS) >= 20
    for name, case in MODELS.items():
        shards = list(files(name).model.glob("*.safetensors"))
        assert (len(shards) > 2) == ("shards" in name) == (case.shard != "1GB")


def test_adapters_take_the_pages_that_rank_and_modules_say(files: Callable[[str], Files]) -> None:
    of = files("llama, one KV head")  # the third of its adapters has ranks of its own
    checkpoint = load_checkpoint(of.model, torch.float32, CPU)
    for path in of.adapters:
        loaded = load_adapter(path, checkpoint.shape, torch.float32)
        pages = len(pack_adapter(checkpoint.shape, loaded.weights, torch.float32).pages)
        parameters = checkpoint.spec.lora_parameters(loaded.rank, loaded.modules)
        assert pages == -(-parameters // checkpoint.shape.kv_dim)


def old_form(config: dict[str, Any]) -> None:
    """As transformers 4 wrote it, and as Llama 3.1 and Qwen2.5 were published."""
    positions = config.pop("rope_parameters")
    config["rope_theta"] = positions.pop("rope_theta")
    config["rope_scaling"] = positions if positions["rope_type"] != "default" else None


@pytest.mark.parametrize(
    "name", ["llama, positions of Llama 3.1", "qwen2, linear positions", "llama, large base"]
)
def test_configs_of_older_versions_say_the_same(
    files: Callable[[str], Files], tmp_path: Path, name: str
) -> None:
    of = files(name)
    older = edited(of.model, tmp_path / "base", old_form, "config.json")
    prompt, _, tokens = of.requests[1]
    assert Truth(older, []).greedy(prompt, TOKENS, None) == tokens
    assert alone(load(replace(of, model=older)), of) == truth(of)


HOWS = [
    Sampling(temperature=0.7),
    Sampling(top_k=5),
    Sampling(top_p=0.8),
    Sampling(temperature=1.8, top_k=30, top_p=0.6),
]


@pytest.mark.parametrize("how", HOWS, ids=str)
def test_tokens_are_drawn_from_what_transformers_would_draw_from(
    files: Callable[[str], Files], how: Sampling
) -> None:
    of = files("llama")
    logits = Truth(of.model, []).logits(of.requests[0][0], None)
    allowed = warped(logits, how.temperature, how.top_k, how.top_p).softmax(dim=1)
    draws = 400
    for row, probability in zip(logits, allowed, strict=True):
        drawn = sample(row.repeat(draws, 1), [(how, place) for place in range(draws)])
        often = drawn.bincount(minlength=len(probability)) / draws
        assert not often[probability == 0].any()
        # Five standard deviations of the most uncertain of shares.
        assert (often - probability).abs().max() < 5 * 0.5 / draws**0.5


# --- what a wrong reading would say --------------------------------------------------------


def edited(folder: Path, to: Path, change: Callable[[dict[str, Any]], None], file: str) -> Path:
    """A copy of a folder whose JSON file says something else."""
    shutil.copytree(folder, to)
    content = json.loads((to / file).read_text())
    change(content)
    (to / file).write_text(json.dumps(content))
    return to


WRONG_MODELS: dict[str, tuple[str, Callable[[dict[str, Any]], None]]] = {
    "no scaling of Llama 3.1": (
        "llama, positions of Llama 3.1",
        lambda config: config["rope_parameters"].update(rope_type="default"),
    ),
    "another factor": (
        "llama, positions of Llama 3.1",
        lambda config: config["rope_parameters"].update(factor=2.0),
    ),
    "another bound": (
        "llama, positions of Llama 3.1",
        lambda config: config["rope_parameters"].update(high_freq_factor=1.5),
    ),
    "no linear scaling": (
        "qwen2, linear positions",
        lambda config: config["rope_parameters"].update(factor=1.0),
    ),
    "another base": (
        "llama, large base",
        lambda config: config["rope_parameters"].update(rope_theta=10_000.0),
    ),
    "another epsilon": ("llama", lambda config: config.update(rms_norm_eps=1e-6)),
}


@pytest.mark.parametrize("name", WRONG_MODELS)
def test_a_model_read_wrongly_says_something_else(
    files: Callable[[str], Files], tmp_path: Path, name: str
) -> None:
    case, change = WRONG_MODELS[name]
    of = files(case)
    wrong = replace(of, model=edited(of.model, tmp_path / "base", change, "config.json"))
    assert alone(load(wrong), of) != truth(of)


WRONG_ADAPTERS: dict[str, tuple[str, Callable[[dict[str, Any]], None]]] = {
    "alpha / r instead of its root": (
        "rank-stabilized",
        lambda config: config.update(use_rslora=False),
    ),
    "another alpha": ("all linear", lambda config: config.update(lora_alpha=15)),
    "no alphas of their own": (
        "ranks of their own",
        lambda config: config.update(alpha_pattern={}),
    ),
    "one alpha fewer, stabilized": (
        "ranks of their own, stabilized",
        lambda config: config.update(alpha_pattern={}),
    ),
}


@pytest.mark.parametrize("name", WRONG_ADAPTERS)
def test_an_adapter_read_wrongly_says_something_else(
    files: Callable[[str], Files], tmp_path: Path, name: str
) -> None:
    kind, change = WRONG_ADAPTERS[name]
    case = next(name for name in MODELS if kind in kinds_of(name))
    of = files(case)
    number = kinds_of(case).index(kind)
    adapters = list(of.adapters)
    adapters[number] = edited(adapters[number], tmp_path / "a", change, "adapter_config.json")
    said = alone(load(replace(of, adapters=adapters)), of)
    same = [each == right for each, right in zip(said, truth(of), strict=True)]
    asked = [adapter for _, adapter, _ in of.requests]
    assert all(alike for alike, adapter in zip(same, asked, strict=True) if adapter != number)
    assert not all(same)


def no_bias(checkpoint: Checkpoint) -> None:
    for layer in checkpoint.weights.layers:
        assert layer.qkv_bias is not None
        layer.qkv_bias.zero_()


def bias_of_q_alone(checkpoint: Checkpoint) -> None:
    for layer in checkpoint.weights.layers:
        assert layer.qkv_bias is not None
        layer.qkv_bias[-checkpoint.shape.kv_dim :].zero_()


def gate_for_up(checkpoint: Checkpoint) -> None:
    for layer in checkpoint.weights.layers:
        layer.gate_up.copy_(layer.gate_up.roll(checkpoint.shape.intermediate_size, 0))


def norms_swapped(checkpoint: Checkpoint) -> None:
    for layer in checkpoint.weights.layers:
        layer.attention_norm, layer.mlp_norm = layer.mlp_norm, layer.attention_norm


@pytest.mark.parametrize("change", [no_bias, bias_of_q_alone, gate_for_up, norms_swapped])
def test_weights_in_the_wrong_place_say_something_else(
    files: Callable[[str], Files], change: Callable[[Checkpoint], None]
) -> None:
    of = files("qwen2")
    checkpoint = load_checkpoint(of.model, torch.float32, CPU)
    adapters = [load_adapter(each, checkpoint.shape, torch.float32) for each in of.adapters]
    change(checkpoint)
    assert alone(serve(checkpoint, adapters), of) != truth(of)


def test_no_adapter_is_to_be_mistaken_for_another_or_for_the_base(
    files: Callable[[str], Files],
) -> None:
    """Each adapter's answer is its own, or little would be proven above."""
    for name in ("llama", "qwen2, tied", "llama of 12 layers"):
        of = files(name)
        truth_of = Truth(of.model, of.adapters)
        prompt = of.requests[0][0]
        answers = [truth_of.greedy(prompt, TOKENS, each) for each in (None, 0, 1, 2)]
        assert len({tuple(each) for each in answers}) == 4


# --- the other way round -------------------------------------------------------------------


def own_adapter(shape: ModelShape) -> Mapping[tuple[int, str], LoraModule]:
    """Modules of different ranks and scales, some of them missing."""
    generator = torch.Generator().manual_seed(5)
    made = {}
    for layer in range(shape.num_hidden_layers):
        for number, module in enumerate(MODULES[layer % 2 :: 2]):
            inner, outer = shape.linear_shapes[module]
            rank = 1 + (3 * layer + 2 * number) % 9
            a = torch.randn(rank, inner, generator=generator) * inner**-0.5
            b = torch.randn(outer, rank, generator=generator) * rank**-0.5
            made[layer, module] = LoraModule(a, b, 0.6 + 0.1 * number)
    return made


@pytest.mark.parametrize("name", ["llama of 12 layers", "qwen2"])
def test_peft_reads_what_the_engine_writes(
    files: Callable[[str], Files], tmp_path: Path, name: str
) -> None:
    of = files(name)
    checkpoint = load_checkpoint(of.model, torch.float32, CPU)
    weights = own_adapter(checkpoint.shape)
    save_adapter(tmp_path / "own", weights, torch.float32)
    said = Truth(of.model, [tmp_path / "own"]).greedy(of.requests[0][0], TOKENS, 0)
    service = Service(checkpoint.shape, [weights], weights=checkpoint.weights)
    sequence = Served(of.requests[0][0], 0)
    service.generate(sequence, TOKENS)
    assert sequence.tokens == said
    assert said != of.requests[0][2]
