"""A base model and adapters of it on disk, made with numpy, and a registry of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import TensorSpec, serialize
from safetensors.numpy import load_file, save_file

from simlora.registry.add import Outcome, add
from simlora.registry.base_model import BaseModel, base_model
from simlora.registry.record import Record
from simlora.registry.signing import new_keys
from simlora.registry.store import Registry

LAYERS = 2
CONFIG: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 50,
    "max_position_embeddings": 64,
    "rms_norm_eps": 0.01,
}
WIDTHS = {"q_proj": (32, 64), "down_proj": (48, 32)}  # in, out
WEIGHTS = "adapter_model.safetensors"
Tensors = dict[str, NDArray[Any]]


def write_base(folder: Path, *, seed: int = 0) -> Path:
    """A base model: config, some weights, tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "tokenizer.json").write_text(json.dumps({"version": "1.0"}))
    weights = np.random.default_rng(seed).normal(size=(50, 32)).astype(np.float32)
    save_file({"model.embed_tokens.weight": weights}, folder / "model.safetensors")
    return folder


def tensor(layer: int, module: str, matrix: str) -> str:
    block = "self_attn" if module == "q_proj" else "mlp"
    return f"base_model.model.model.layers.{layer}.{block}.{module}.lora_{matrix}.weight"


def matrices(rank: int = 4, *, seed: int = 0, size: float = 1.0) -> Tensors:
    generator = np.random.default_rng(seed)
    found: Tensors = {}
    for layer in range(LAYERS):
        for module, (inner, outer) in WIDTHS.items():
            a, b = generator.normal(size=(rank, inner)), generator.normal(size=(outer, rank))
            found[tensor(layer, module, "A")] = (a / inner**0.5).astype(np.float32)
            found[tensor(layer, module, "B")] = (b * size / rank).astype(np.float32)
    return found


def write_adapter(
    folder: Path, rank: int = 4, *, seed: int = 0, size: float = 1.0, **config: Any
) -> Path:
    """An adapter of `rank` in float32; `size` makes B larger, `config` changes fields."""
    folder.mkdir(parents=True, exist_ok=True)
    fields = {
        "peft_type": "LORA",
        "base_model_name_or_path": "somebody/base",
        "r": rank,
        "lora_alpha": 2 * rank,
        "target_modules": list(WIDTHS),
    }
    (folder / "adapter_config.json").write_text(json.dumps(fields | config))
    save_file(matrices(rank, seed=seed, size=size), folder / WEIGHTS)
    return folder


def edit_json(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def edit_tensors(folder: Path, change: Callable[[Tensors], object]) -> None:
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS)


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in sorted(folder.rglob("*"))
    }


def as_bf16(tensors: Tensors) -> bytes:
    """The same tensors, cut to bf16, as a safetensors file."""
    halves = {
        name: np.ascontiguousarray((each.view(np.uint32) >> 16).astype(np.uint16))
        for name, each in tensors.items()
    }
    return bytes(
        serialize(
            {
                name: TensorSpec(
                    dtype="bfloat16",
                    shape=each.shape,
                    data_ptr=each.ctypes.data,
                    data_len=each.nbytes,
                )
                for name, each in halves.items()
            },
            None,
        )
    )


class House:
    """A registry in `path / "registry"` that trusts the key of `ops`."""

    def __init__(self, path: Path, *, trusting: Sequence[str] = ("ops",)) -> None:
        self.path = path
        self.base_folder = write_base(path / "base")
        self.adapter = write_adapter(path / "adapter")
        self.folder = path / "registry"
        (self.folder / "trusted").mkdir(parents=True)
        self.keys = {}
        for name in trusting:
            private, public = new_keys(path / "keys", name)
            (self.folder / "trusted" / public.name).write_bytes(public.read_bytes())
            self.keys[name] = private
        self.registry = Registry.open(self.folder)
        self.base: BaseModel = base_model(str(self.base_folder))

    def about(self, **fields: Any) -> dict[str, Any]:
        return {
            "adapter_id": "support",
            "tenant": "acme",
            "version": "v1",
            "trained_at": datetime(2026, 5, 1, 12, tzinfo=UTC),
            "promoted_at": datetime(2026, 5, 2, tzinfo=UTC),
            "eval_scores": {"rouge_l": 0.41},
        } | fields

    def add(
        self,
        source: Path | None = None,
        *,
        key: str | None = "ops",
        base: BaseModel | None = None,
        **fields: Any,
    ) -> tuple[Record, Outcome]:
        return add(
            self.registry,
            self.adapter if source is None else source,
            self.base if base is None else base,
            self.about(**fields),
            None if key is None else self.keys[key],
        )

    @property
    def stored(self) -> Path:
        return self.folder / "support" / "v1"

    def load(self, **asked: Any) -> Path:
        """What an engine asks before each load."""
        expected = {"base_model_hash": self.base.sha256, "tokenizer_hash": self.base.tokenizer_hash}
        return self.registry.checked("support", "v1", **(expected | asked))
