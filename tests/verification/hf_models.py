"""Tiny models and adapters as transformers and PEFT make, write and run them."""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # before huggingface_hub is imported: nothing is fetched

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

# Both are typed, and large: a type checker that followed them would read them whole.
transformers: Any = importlib.import_module("transformers")
peft: Any = importlib.import_module("peft")
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
# Tokens whose rivals are closer than this could turn out either way in float32.
LEAST_MARGIN = 1e-4


@dataclass(frozen=True)
class ModelCase:
    """A configuration, `family` being a model of transformers; `shard`: the largest file."""

    family: str
    config: Mapping[str, Any] = field(default_factory=dict)
    shard: str = "1GB"


MODELS = {
    "llama": ModelCase("Llama"),
    "llama in shards": ModelCase("Llama", {}, shard="40KB"),
    "llama, one KV head": ModelCase("Llama", {"num_key_value_heads": 1}),
    "llama, no groups": ModelCase("Llama", {"num_key_value_heads": 4}),
    "llama, tied": ModelCase("Llama", {"tie_word_embeddings": True}),
    "llama, tied, in shards": ModelCase("Llama", {"tie_word_embeddings": True}, shard="30KB"),
    "llama, wide heads": ModelCase("Llama", {"head_dim": 32}),
    "llama, narrow heads": ModelCase("Llama", {"head_dim": 8, "num_key_value_heads": 2}),
    "llama, large base": ModelCase("Llama", {"rope_parameters": {"rope_theta": 500_000.0}}),
    "llama, small base": ModelCase("Llama", {"rope_parameters": {"rope_theta": 7.0}}),
    "llama, large epsilon": ModelCase("Llama", {"rms_norm_eps": 0.5}),
    "llama, positions of Llama 3.1": ModelCase(
        "Llama", {"rope_parameters": {**LLAMA3, "rope_theta": 20.0}}
    ),
    "llama, linear positions": ModelCase(
        "Llama", {"rope_parameters": {"rope_type": "linear", "factor": 3.0, "rope_theta": 20.0}}
    ),
    "llama of 12 layers": ModelCase("Llama", {"num_hidden_layers": 12}),
    "llama of one layer": ModelCase("Llama", {"num_hidden_layers": 1}),
    "qwen2": ModelCase("Qwen2"),
    "qwen2 in shards": ModelCase("Qwen2", {}, shard="20KB"),
    "qwen2, tied": ModelCase("Qwen2", {"tie_word_embeddings": True}),
    "qwen2, seven queries a key": ModelCase(
        "Qwen2", {"hidden_size": 112, "num_attention_heads": 7, "num_key_value_heads": 1}
    ),
    "qwen2, large base": ModelCase(
        "Qwen2", {"rope_parameters": {"rope_theta": 1e6}, "rms_norm_eps": 0.1}
    ),
    "qwen2, linear positions": ModelCase(
        "Qwen2", {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 50.0}}
    ),
    "qwen2, positions of Llama 3.1": ModelCase(
        "Qwen2", {"rope_parameters": {**LLAMA3, "rope_theta": 100.0}, "tie_word_embeddings": True}
    ),
    "mistral": ModelCase("Mistral", {"sliding_window": None}),
}

# By what makes each different; the regular expressions are PEFT's own kind.
ADAPTERS: dict[str, dict[str, Any]] = {
    "all linear": {"r": 8, "lora_alpha": 16, "target_modules": "all-linear"},
    "rank-stabilized": {
        "r": 9,
        "lora_alpha": 6,
        "use_rslora": True,
        "target_modules": ["q_proj", "v_proj", "up_proj"],
    },
    "ranks of their own": {
        "r": 6,
        "lora_alpha": 7,
        "target_modules": LINEAR,
        "rank_pattern": {"layers.0.self_attn.q_proj": 2, "down_proj": 11, "^model.*gate_proj": 1},
        "alpha_pattern": {r"model\.layers\.\d+\.mlp\.(gate|up)_proj": 3, "down_proj": 30},
    },
    "ranks of their own, stabilized": {
        "r": 4,
        "lora_alpha": 4,
        "use_rslora": True,
        "target_modules": ["k_proj", "o_proj", "mlp.down_proj"],
        "rank_pattern": {"down_proj": 16},
        "alpha_pattern": {"o_proj": 9},
    },
    "by a regular expression": {
        "r": 5,
        "lora_alpha": 12,
        "target_modules": r".*layers\.\d*[02468]\.(self_attn\.(v|o)_proj|mlp\.(gate|down)_proj)",
    },
    "some layers": {
        "r": 3,
        "lora_alpha": 8,
        "target_modules": ["v_proj", "gate_proj", "down_proj"],
        "layers_to_transform": [0],
    },
    "all but some": {
        "r": 7,
        "lora_alpha": 10,
        "target_modules": "all-linear",
        "exclude_modules": ["q_proj", "layers.0.mlp.up_proj"],
    },
    "one module": {"r": 12, "lora_alpha": 24, "target_modules": ["model.layers.0.mlp.up_proj"]},
}


def write_model(case: ModelCase, folder: Path, seed: int) -> None:
    """A model of random weights, large enough for positions, biases and norms to matter."""
    config = {
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 101,
        "max_position_embeddings": 128,
        "rms_norm_eps": 0.02,
        "rope_parameters": {"rope_theta": 100.0},
        **case.config,
    }
    config["rope_parameters"] = {"rope_type": "default", **config["rope_parameters"]}
    made = getattr(transformers, f"{case.family}Config")(**config)
    model = getattr(transformers, f"{case.family}ForCausalLM")(made)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("bias"):
                weight.normal_(0.0, 0.7, generator=generator)
            elif weight.dim() == 1:
                weight.uniform_(0.3, 1.7, generator=generator)
            else:
                gain = 1.6 if name.endswith(("q_proj.weight", "k_proj.weight")) else 1.2
                weight.normal_(0.0, gain * weight.shape[1] ** -0.5, generator=generator)
    model.save_pretrained(folder, max_shard_size=case.shard)


def write_adapter(model: Path, kind: str, folder: Path, seed: int) -> None:
    """An adapter of one of the ADAPTERS for the model in a folder, neither of its matrices zero."""
    base = transformers.AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    config = peft.LoraConfig(task_type="CAUSAL_LM", **ADAPTERS[kind])
    adapted = peft.get_peft_model(base, config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_" in name:
                weight.normal_(0.0, 0.8 * weight.shape[1] ** -0.5, generator=generator)
    adapted.save_pretrained(folder)


class Truth:
    """The model in a folder with its adapters, run by transformers and PEFT in float32."""

    def __init__(self, model: Path, adapters: Sequence[Path]) -> None:
        base = transformers.AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
        self.model = base.eval()
        for number, folder in enumerate(adapters):
            if number == 0:
                self.model = peft.PeftModel.from_pretrained(base, folder, adapter_name="0").eval()
            else:
                self.model.load_adapter(folder, adapter_name=str(number))

    @torch.inference_mode()
    def greedy(self, prompt: Sequence[int], count: int, adapter: int | None) -> list[int]:
        """The `count` likeliest tokens after a prompt; the whole sequence is computed for each.

        Raises AssertionError if a token's lead is so small that it proves nothing.
        """
        tokens = list(prompt)
        for _ in range(count):
            logits = self.logits(tokens, adapter)[-1]
            first, second = logits.topk(2).values.tolist()
            assert first - second > LEAST_MARGIN, "take another seed"
            tokens.append(int(logits.argmax()))
        return tokens[len(prompt) :]

    def logits(self, tokens: Sequence[int], adapter: int | None) -> torch.Tensor:
        """[tokens, vocabulary]."""
        ids = torch.tensor([tokens])
        if adapter is None and isinstance(self.model, peft.PeftModel):
            with self.model.disable_adapter():
                return self.model(ids).logits[0]
        if adapter is not None:
            self.model.set_adapter(str(adapter))
        return self.model(ids).logits[0]


def warped(logits: torch.Tensor, temperature: float, top_k: int, top_p: float) -> torch.Tensor:
    """Logits as transformers changes them before a token is drawn."""
    chain = [transformers.TemperatureLogitsWarper(temperature)]
    chain += [transformers.TopKLogitsWarper(top_k)] if top_k else []
    chain += [transformers.TopPLogitsWarper(top_p)] if top_p < 1 else []
    for each in chain:
        logits = each(None, logits.float())
    return logits
