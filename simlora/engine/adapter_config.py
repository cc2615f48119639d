"""`adapter_config.json` of a PEFT LoRA adapter: which modules it changes, and by how much.

Names, defaults and the matching of modules are PEFT's (its `LoraConfig`, as of version 0.21).
Needs no torch, so that an adapter can be judged where none is installed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from simlora.engine.module_patterns import EndingPatterns, ModuleNames, endings
from simlora.errors import UserError
from simlora.scenario.catalog.huggingface import read_json
from simlora.scenario.catalog.specs import TARGET_SETS
from simlora.scenario.problems import dotted, given, one_of
from simlora.scenario.strict import Strict
from simlora.scenario.wording import explain

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
MODULES = TARGET_SETS["all-linear"]
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")

# Fields that change what an adapter computes, and which the engine does not have.
_UNSUPPORTED = {
    "use_dora": "DoRA is not supported",
    "modules_to_save": "modules that are trained whole are not supported",
    "trainable_token_indices": "trained embeddings are not supported",
    "lora_bias": "biases are not supported",
    "target_parameters": "only linear modules are supported",
    "layer_replication": "replicated layers are not supported",
    "alora_invocation_tokens": "activated LoRA is not supported",
    "use_qalora": "QALoRA is not supported",
    "use_bdlora": "BD-LoRA is not supported",
    "arrow_config": "Arrow's routing is not supported",
    "kasa_config": "KaSA is not supported",
    "monteclora_config": "MonteCLoRA is not supported",
    "velora_config": "VeLoRA is not supported",
    "megatron_config": "Megatron's layers are not supported",
    "fan_in_fan_out": "transposed weights are not supported",
}
# Fields that only training reads.
_NEEDLESS = {
    "auto_mapping",
    "corda_config",
    "ensure_weight_tying",
    "eva_config",
    "inference_mode",
    "loftq_config",
    "lora_dropout",
    "lora_ga_config",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
}
# Initialisations that leave the base model as it is; others move a part of its weights into A and
# B, so that the adapter is right only on top of what is left.
_PLAIN_INITS: tuple[object, ...] = (True, False, "gaussian", "eva", "orthogonal")

_Rank = Annotated[int, Field(ge=1)]
_Alpha = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Modules = list[str] | str | None


class AdapterConfig(Strict):
    """What remains of the file once it is known to be plain LoRA."""

    peft_type: Literal["LORA"]
    task_type: Literal["CAUSAL_LM"] | None = None
    base_model_name_or_path: str | None = None
    r: _Rank = 8
    lora_alpha: _Alpha = 8
    use_rslora: bool = False
    rank_pattern: dict[str, _Rank] = Field(default_factory=dict)
    alpha_pattern: dict[str, _Alpha] = Field(default_factory=dict)
    target_modules: list[str] | str
    exclude_modules: _Modules = None
    layers_to_transform: list[int] | int | None = None
    layers_pattern: _Modules = None

    def targets(self, layers: int) -> dict[tuple[int, str], str]:
        """PEFT's names of the modules that the adapter changes, by layer and module.

        Raises UserError if there are none, or others than the seven linear ones of a layer.
        """
        names = {
            (layer, module): module_name(layer, module)
            for layer in range(layers)
            for module in MODULES
        }
        if isinstance(self.target_modules, list):
            self._check_listed(list(names.values()))
        else:
            for other in ("model.embed_tokens", "lm_head"):
                if self.target_modules != "all-linear" and self._matches(other):
                    raise _outside(other)
        found = {at: name for at, name in names.items() if self._matches(name, at[0])}
        if not found:
            raise UserError("target_modules: no module of the model is among them")
        return found

    def rank(self, name: str) -> int:
        """The rank of a module, by PEFT's name of it."""
        return self._ranks.get(name, self.r)

    def scale(self, name: str) -> float:
        """What B A x is multiplied by: alpha / r, or alpha / sqrt(r) if rank-stabilized
        (https://arxiv.org/abs/2312.03732)."""
        alpha = self._alphas.get(name, self.lora_alpha)
        rank = self.rank(name)
        return alpha / math.sqrt(rank) if self.use_rslora else alpha / rank

    def _matches(self, name: str, layer: int | None = None) -> bool:
        if name in self._excluded:
            return False
        if self.target_modules == "all-linear":
            return True
        if name not in self._targeted:
            return False
        return not self._layers or layer in self._layers

    def _check_listed(self, names: Iterable[str]) -> None:
        """Raises UserError for an entry of `target_modules` that is no linear module of a layer."""
        known = {ending for name in names for ending in endings(name)}
        for target in self.target_modules:
            if target not in known:
                raise _outside(target)

    @cached_property
    def _targeted(self) -> ModuleNames:
        return ModuleNames(() if self.target_modules == "all-linear" else self.target_modules)

    @cached_property
    def _excluded(self) -> ModuleNames:
        return ModuleNames(self.exclude_modules)

    @cached_property
    def _layers(self) -> frozenset[int]:
        """The layers that are changed; all of them if none is named."""
        wanted = self.layers_to_transform
        return frozenset([wanted] if isinstance(wanted, int) else wanted or ())

    @cached_property
    def _ranks(self) -> EndingPatterns[int]:
        return EndingPatterns(self.rank_pattern)

    @cached_property
    def _alphas(self) -> EndingPatterns[float]:
        return EndingPatterns(self.alpha_pattern)


def read_adapter_config(folder: Path) -> AdapterConfig:
    """Raises UserError if the file cannot be read or is of an adapter that the engine lacks."""
    path = folder / CONFIG
    fields = read_json(path, f"an {CONFIG}")
    if fields.get("bias", "none") != "none":
        raise UserError(f'{path}: bias must be "none", not {given(fields["bias"])}')
    for field, why in _UNSUPPORTED.items():
        if fields.get(field):
            raise UserError(f"{path}: {field} is {given(fields[field])}: {why}")
    init = fields.get("init_lora_weights", True)
    if init not in _PLAIN_INITS:
        raise UserError(
            f"{path}: init_lora_weights is {given(init)}, which changes the base model's weights: "
            "convert the adapter to a plain LoRA"
        )
    known = {*_UNSUPPORTED, *_NEEDLESS, "bias", "init_lora_weights"}
    # What says nothing cannot change anything, whatever it is called.
    rest = {name: value for name, value in fields.items() if name not in known and _set(value)}
    try:
        config = AdapterConfig.model_validate(rest)
        _check_patterns(config)
    except ValidationError as error:
        field_path, problem = explain(error)
        raise UserError(f"{path}: {dotted(field_path)}: {problem}") from None
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return config


def module_name(layer: int, module: str) -> str:
    """A module's name in the base model, as PEFT sees it."""
    block = "self_attn" if module in ATTENTION else "mlp"
    return f"model.layers.{layer}.{block}.{module}"


def tensor_name(module: str, matrix: str) -> str:
    """The name of a module's matrix, `A` or `B`, in a file that PEFT wrote."""
    return f"base_model.model.{module}.lora_{matrix}.weight"


def check_names(path: Path, modules: Iterable[str], tensors: Iterable[str]) -> None:
    """Raises UserError unless the tensors of a file are A and B of these modules, and nothing
    else."""
    expected = {tensor_name(module, matrix) for module in modules for matrix in "AB"}
    for name in tensors:
        if name not in expected:
            raise UserError(f"{path}: {name} is none of the matrices that its {CONFIG} tells of")
    for name in sorted(expected.difference(tensors)):
        raise UserError(f"{path}: {name} is missing")


def _set(value: Any) -> bool:
    return value is not None and value is not False and value not in ("", [], {})


def _check_patterns(config: AdapterConfig) -> None:
    """Raises UserError for patterns that cannot be matched, and for layers without a list of
    modules, which PEFT does not take either."""
    fields: dict[str, Callable[[], object]] = {
        "rank_pattern": lambda: config._ranks,
        "alpha_pattern": lambda: config._alphas,
        "target_modules": lambda: config._targeted,
        "exclude_modules": lambda: config._excluded,
    }
    for field, compiled in fields.items():
        try:
            compiled()
        except UserError as error:
            raise UserError(f"{field}: {error}") from None
    if config.layers_to_transform is not None and isinstance(config.target_modules, str):
        raise UserError("layers_to_transform: needs a list of target_modules")
    if config.layers_pattern not in (None, "layers", ["layers"]):
        raise UserError(f'layers_pattern: must be "layers", not {given(config.layers_pattern)}')


def _outside(target: str) -> UserError:
    return UserError(f'target_modules: "{target}" is none of the linear modules {one_of(MODULES)}')
