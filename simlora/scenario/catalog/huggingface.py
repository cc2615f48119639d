"""Model shapes from a Hugging Face `config.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from simlora.errors import UserError
from simlora.scenario.catalog.specs import ModelSpec
from simlora.scenario.problems import dotted, given
from simlora.scenario.wording import explain

SUPPORTED = ("llama", "qwen2", "mistral")
_LARGEST_CONFIG_BYTES = 1_000_000


def read_config(path: Path) -> ModelSpec:
    """The model that a `config.json` describes, named after its folder.

    Raises UserError if the file cannot be read or is not of a supported family.
    """
    if path.is_dir():
        path = path / "config.json"
    config = _read_json(path)
    family = config.get("model_type")
    if family not in SUPPORTED:
        raise UserError(
            f"{path}: model_type is {given(family)}, but only {', '.join(SUPPORTED)} are supported"
        )
    for switch in ("attention_bias", "mlp_bias"):
        if family == "llama" and config.get(switch):
            raise UserError(f"{path}: {switch} is true, which is not supported for llama models")
    try:
        return ModelSpec.model_validate(_shapes(path, config))
    except ValidationError as error:
        field, problem = explain(error)
        raise UserError(f"{path}: {dotted(field)}: {problem}".replace(": : ", ": ")) from None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _LARGEST_CONFIG_BYTES:
            raise UserError(f"{path}: is too large for a config.json")
        config = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: is not UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise UserError(f"{path}:{error.lineno}: is not valid JSON: {error.msg}") from None
    except RecursionError:
        raise UserError(f"{path}: is nested too deeply for a config.json") from None
    if not isinstance(config, dict):
        raise UserError(f"{path}: must be a JSON object, not {given(config)}")
    return config


def _shapes(path: Path, config: dict[str, Any]) -> dict[str, Any]:
    """The config's shapes with the defaults that transformers gives to absent ones."""
    heads, hidden = config.get("num_attention_heads"), config.get("hidden_size")
    head_dim = config.get("head_dim")
    if head_dim is None and isinstance(heads, int) and isinstance(hidden, int) and heads > 0:
        head_dim = hidden // heads
    kv_heads = config.get("num_key_value_heads")
    shapes = {
        "name": path.parent.name if path.name == "config.json" and path.parent.name else path.stem,
        "num_key_value_heads": heads if kv_heads is None else kv_heads,
        "head_dim": head_dim,
        "tie_word_embeddings": config.get("tie_word_embeddings", False),
        "attention_bias": config["model_type"] == "qwen2",
        "sources": {"shapes": str(path)},
    }
    for field in (
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "vocab_size",
        "max_position_embeddings",
    ):
        if field in config:
            shapes[field] = config[field]
    return shapes
