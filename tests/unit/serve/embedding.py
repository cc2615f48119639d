"""Servers over the real engine: a model of some thousand parameters on the CPU, and its texts."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from simlora.scenario.schema import Scenario
from simlora.serve.embedded import EmbeddedReplica
from simlora.serve.keys import Keys
from simlora.serve.limits import one_engine
from simlora.serve.run import Service

torch.set_num_threads(1)

VOCABULARY = 320
CONFIG: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 256,
    "tie_word_embeddings": False,
}
BOS, EOS = "<s>", "</s>"
CORPUS = ["how are you today", "the cat sat on the mat", "naïve café, 日本語 and 🙂🙃"] * 3
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}\n"
    "    {% if message.role == 'robot' %}{{ raise_exception('no robots') }}{% endif %}\n"
    "[{{ message.role }}] {{ message.content }}\n"
    "{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"
)


def tokenizer() -> Tokenizer:
    """A small byte-level one, as those of Llama 3 and Qwen are; each prompt begins with BOS."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - 10,
        special_tokens=[BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(CORPUS, trainer)
    made.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, made.token_to_id(BOS))]
    )
    return made


def write_config(folder: Path, **changes: Any) -> Path:
    """A model without weights: they are random."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG | changes))
    return folder


def write_texts(folder: Path, template: str | None = TEMPLATE) -> Tokenizer:
    """The tokenizer's files of a model."""
    made = tokenizer()
    made.save(str(folder / "tokenizer.json"))
    as_object = {"__type": "AddedToken", "content": EOS, "special": True}
    config: dict[str, Any] = {"bos_token": BOS, "eos_token": as_object}
    if template is not None:
        config["chat_template"] = template
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return made


def engine(**changes: Any) -> dict[str, Any]:
    """Options of a small engine."""
    return {
        "max_model_len": 128,
        "max_num_seqs": 6,
        "max_num_batched_tokens": 48,
        "kv_block_tokens": 4,
        "memory": {"kv_cache_tokens": 768},
    } | changes


def scenario(model: Path | str, **changes: Any) -> Scenario:
    """Four tenants with an adapter of rank 4 each."""
    return Scenario.model_validate(
        {
            "name": "embedded",
            "model": str(model),
            "fleet": [{"gpu": "cpu"}],
            "tenants": [{"name": "tenant", "count": 4, "adapter": {"rank": 4}}],
            "workload": {"rate_rps": 1.0},
            "engine": engine(),
            "adapters": {"store": {"latency_s": 0.0}, "nvme": {"latency_s": 0.0}},
            "timing": {"profile": "roofline"},
        }
        | changes
    )


def service(
    asked: Scenario,
    keys: Keys | None = None,
    *,
    notes: list[str] | None = None,
    **options: Any,
) -> Service:
    """The real server of a scenario; at every step boundary device and scheduler are compared."""
    served, left_out = one_engine(asked)
    told: list[str] = [] if notes is None else notes
    told += left_out
    replica: Callable[..., EmbeddedReplica] = partial(
        EmbeddedReplica, device="cpu", note=told.append, check=True, **options
    )
    return Service(served, keys, replica=replica)


def replica_of(served: Service) -> EmbeddedReplica:
    """The replica, by its real type."""
    assert isinstance(served.replica, EmbeddedReplica)
    return served.replica


def completion(prompt: str | Sequence[int] = "how are you", **changes: Any) -> dict[str, Any]:
    """The body of a small request, answered with the likeliest tokens."""
    body = {"model": "tenant-0000", "prompt": prompt, "max_tokens": 8, "temperature": 0}
    return body | {"ignore_eos": True} | changes


def chat(*contents: str, **changes: Any) -> dict[str, Any]:
    """The same as a chat, whose turns are the user's and the assistant's by turns."""
    roles = ["user", "assistant"]
    messages = [{"role": roles[n % 2], "content": text} for n, text in enumerate(contents)]
    body = {"model": "tenant-0000", "messages": messages, "max_tokens": 8, "temperature": 0}
    return body | {"ignore_eos": True} | changes


def text_of(reply: dict[str, Any]) -> str:
    """The text of a whole answer."""
    (choice,) = reply["choices"]
    return str(choice["message"]["content"] if "message" in choice else choice["text"])
