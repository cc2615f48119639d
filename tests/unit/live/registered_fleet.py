"""A trained model of some thousand parameters, a registry of adapters of it, and ways to spoil
them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from simlora.engine.adapters import save_adapter
from simlora.engine.random_adapter import random_adapter
from simlora.engine.shape import shape_of
from simlora.engine.weights import checkpoint_views, random_weights
from simlora.registry.add import add
from simlora.registry.base_model import base_model
from simlora.registry.hashes import file_sha256
from simlora.registry.record import RECORD, Record, read_record
from simlora.registry.signing import new_keys, sign
from simlora.registry.store import Registry
from simlora.scenario.catalog.huggingface import read_config
from simlora.scenario.schema import Scenario
from tests.unit.live.living import CONFIG, live_scenario

WEIGHTS, ADAPTER_CONFIG = "adapter_model.safetensors", "adapter_config.json"
RANK = 4
CPU = torch.device("cpu")


def write_model(folder: Path, *, seed: int = 0) -> Path:
    """`config.json` and random weights, which are a trained model's as far as anybody can tell."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    shape = shape_of(read_config(folder))
    weights = random_weights(shape, torch.float32, CPU, tied=False, seed=seed)
    tensors = {name: view.clone() for name, view in checkpoint_views(shape, weights).items()}
    save_file(tensors, folder / "model.safetensors")
    return folder


class Fleet:
    """A model and a registry in `path`; both trust the key of `ops`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.model = write_model(path / "model")
        self.base = base_model(str(self.model))
        self.folder = path / "registry"
        private, public = new_keys(path / "keys", "ops")
        (self.folder / "trusted").mkdir(parents=True)
        shutil.copy(public, self.folder / "trusted")
        self.key = private
        self.registry = Registry.open(self.folder)

    def add(
        self,
        name: str,
        version: str = "v1",
        *,
        rank: int = RANK,
        modules: tuple[str, ...] | None = None,
        seed: int | None = None,
        **about: Any,
    ) -> Path:
        """Put a random adapter in, signed; returns its folder."""
        shape = shape_of(read_config(self.model))
        seed = sum(name.encode()) if seed is None else seed
        source = self.path / "sources" / name / version
        given = {} if modules is None else {"modules": modules}
        save_adapter(source, random_adapter(shape, rank, seed=seed, **given), torch.float32)
        fields = {"adapter_id": name, "tenant": "acme", "version": version} | about
        add(self.registry, source, self.base, fields, self.key)
        return self.folder / name / version

    def add_all(self, count: int) -> list[Path]:
        """The adapters of a scenario with so many."""
        return [self.add(f"tenant-{number:04d}") for number in range(count)]

    def scenario(self, adapters: int, **engine: Any) -> Scenario:
        """Tenants with an adapter of the registry each, which are in the store at first."""
        scenario = live_scenario(self.path, adapters=adapters, **engine)
        return scenario.with_overrides(
            {
                "model": str(self.model),
                "adapters.initial_tier": "store",
                "adapters.store": {"latency_s": 0.001, "tls_s": 0.0},
                "adapters.loading": {"retries": 1, "backoff_s": 0.01},
            }
        )

    def sign_again(self, folder: Path, **fields: Any) -> None:
        """A record of the files as they are now, with a good signature."""
        record = read_record(folder / RECORD).model_dump() | {
            "file_sha256": file_sha256(folder / WEIGHTS),
            "config_sha256": file_sha256(folder / ADAPTER_CONFIG),
            "signature": None,
            "signed_by": None,
        }
        signed = sign(Record.model_validate(record | fields), self.key, self.registry.trusted)
        (folder / RECORD).write_bytes(signed.file_bytes())


# --- what can be wrong with an adapter ------------------------------------------------------


def truncated(fleet: Fleet, folder: Path) -> None:
    """Half a file, and a record of that half."""
    path = folder / WEIGHTS
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    fleet.sign_again(folder)


def not_a_number(fleet: Fleet, folder: Path) -> None:
    tensors = load_file(folder / WEIGHTS)
    next(iter(tensors.values()))[0, 0] = float("nan")
    save_file(tensors, folder / WEIGHTS)
    fleet.sign_again(folder)


def wrong_rank(fleet: Fleet, folder: Path) -> None:
    """Twice the rank that its record tells of."""
    shape = shape_of(read_config(fleet.model))
    save_adapter(folder, random_adapter(shape, 2 * RANK, seed=1), torch.float32)
    fleet.sign_again(folder)


def wrong_base(fleet: Fleet, folder: Path) -> None:
    fleet.sign_again(folder, base_model_hash="0" * 64)


def pickled(fleet: Fleet, folder: Path) -> None:
    """The same matrices as an old file of torch."""
    torch.save(load_file(folder / WEIGHTS), folder / "adapter_model.bin")
    (folder / WEIGHTS).unlink()


def tampered(fleet: Fleet, folder: Path) -> None:
    """One bit of one byte is another one."""
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[-1] ^= 1
    (folder / WEIGHTS).write_bytes(data)


def unsigned(fleet: Fleet, folder: Path) -> None:
    record = read_record(folder / RECORD).model_copy(update={"signature": None, "signed_by": None})
    (folder / RECORD).write_bytes(record.file_bytes())


def expired(fleet: Fleet, folder: Path) -> None:
    fleet.sign_again(folder, retention_policy={"until": date(2020, 1, 31)})


def no_record(fleet: Fleet, folder: Path) -> None:
    (folder / RECORD).write_text("{}")


Fault = Callable[[Fleet, Path], None]
FAULTS: tuple[Fault, ...] = (
    truncated,
    not_a_number,
    wrong_rank,
    wrong_base,
    pickled,
    tampered,
    unsigned,
    expired,
    no_record,
)
PROMOTED = datetime(2026, 5, 1, tzinfo=UTC)
