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
_LARGEST_BYTES = 1_000_000
_FIGURES = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "vocab_size",
    "max_position_embeddings",
    "rms_norm_eps",
)


def read_config(path: Path) -> ModelSpec:
    """The model that a `config.json` describes, named after its folder.

    Raises UserError if the file cannot be read or is not of a supported family.
    """
    if path.is_dir():
        path = path / "config.json"
    config = read_json(path)
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


def read_json(
    path: Path, kind: str = "a config.json", largest_bytes: int = _LARGEST_BYTES
) -> dict[str, Any]:
    """The object in a JSON file, `kind` being what such files are called. Raises UserError."""
    try:
        if path.exists() and not path.is_file():  # a device may never end
            raise UserError(f"{path}: is not a file")
        if path.stat().st_size > largest_bytes:
            raise UserError(f"{path}: is too large for {kind}")
        config = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: is not UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise UserError(f"{path}:{error.lineno}: is not valid JSON: {error.msg}") from None
    except RecursionError:
        raise UserError(f"{path}: is nested too deeply for {kind}") from None
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
    shapes |= {field: config[field] for field in _FIGURES if field in config}
    return shapes | _rope(config)


def _rope(config: dict[str, Any]) -> dict[str, Any]:
    """`rope_theta` and `rope_scaling`, which transformers 5 writes as one: `rope_parameters`.

    An own base in `rope_scaling` counts before the config's. No scaling is `default` there.
    """
    scaling = config.get("rope_scaling") or config.get("rope_parameters")
    if not isinstance(scaling, dict):
        found = {"rope_scaling": scaling or None, "rope_theta": config.get("rope_theta")}
    else:
        rest = {key: value for key, value in scaling.items() if key not in ("rope_theta", "type")}
        rest.setdefault("rope_type", scaling.get("type", "default"))
        theta = scaling.get("rope_theta", config.get("rope_theta"))
        plain = rest == {"rope_type": "default"}
        found = {"rope_scaling": None if plain else rest, "rope_theta": theta}
    return {key: value for key, value in found.items() if value is not None}
