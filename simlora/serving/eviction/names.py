"""Policies by what a scenario calls them."""

from __future__ import annotations

import re
from collections.abc import Callable

from simlora.errors import UserError
from simlora.serving.eviction.arc import ARC
from simlora.serving.eviction.base import EvictionPolicy, PolicyContext
from simlora.serving.eviction.belady import Belady
from simlora.serving.eviction.fifo import FIFO
from simlora.serving.eviction.gdsf import GDSF
from simlora.serving.eviction.lfu import LFU, LFUDA
from simlora.serving.eviction.lru import LRU
from simlora.serving.eviction.lru_k import LRUK
from simlora.serving.eviction.priority import Priority
from simlora.serving.eviction.s3_fifo import S3FIFO
from simlora.serving.eviction.sieve import Sieve
from simlora.serving.eviction.sla_aware import SlaAware
from simlora.serving.eviction.slru import SLRU
from simlora.serving.eviction.ttl import TTL
from simlora.serving.eviction.two_q import TwoQ
from simlora.serving.eviction.w_tinylfu import WTinyLFU
from simlora.serving.registry import Registry

_PARTS: dict[str, Callable[..., EvictionPolicy]] = {
    "2q": TwoQ,
    "arc": ARC,
    "fifo": FIFO,
    "gdsf": GDSF,
    "lfu": LFU,
    "lfuda": LFUDA,
    "lru": LRU,
    "lru-k": LRUK,
    "s3-fifo": S3FIFO,
    "sieve": Sieve,
    "sla-aware": SlaAware,
    "slru": SLRU,
    "ttl": TTL,
    "w-tinylfu": WTinyLFU,
}
EVICTION: Registry[EvictionPolicy] = Registry("adapters.hot.eviction", EvictionPolicy, _PARTS)

_BELADY = "belady"  # none that a scenario could have
_PRIORITY = "priority"
_LARGEST_K = 64


def make_policy(name: str, context: PolicyContext, field: str = "") -> EvictionPolicy:
    """The policy that a scenario calls `name`, bound to the tier that `context` tells of.

    That is a name of EVICTION, the same with a number (`lru-2`, `ttl-600`: seconds), or a dotted
    path; `+priority` at the end lays the tenants' priority over it. `field` is named in messages.

    Raises UserError if there is no such policy, or if it cannot serve that tier.
    """
    field = field or EVICTION.field
    inner, plus, overlay = name.partition("+")
    if plus and overlay != _PRIORITY:
        raise UserError(f"{field}: {name!r}: only {_PRIORITY} may stand behind the +")
    policy: EvictionPolicy
    if plus:
        policy = Priority(lambda tier: make_policy(inner, tier, field))
    elif name == _BELADY:
        policy = Belady()
    else:
        policy = _numbered(name, field) or EVICTION.make(name, field=field)
    bind = getattr(policy, "bind", None)
    if bind is not None:
        try:
            bind(context)
        except UserError:
            raise
        except ValueError as error:
            raise UserError(f"{field}: {name} {error}") from None
    return policy


def _numbered(name: str, field: str) -> EvictionPolicy | None:
    """The policy of a name that ends with a number; None if it does not."""
    found = re.fullmatch(r"(lru|ttl)-(\d{1,9}(?:\.\d{1,9})?)", name)
    if found is None:
        return None
    kind, number = found.groups()
    if kind == "ttl":
        if float(number) == 0:
            raise UserError(f"{field}: {name}: an adapter must live for more than 0 seconds")
        return TTL(float(number))
    if "." in number or not 1 <= int(number) <= _LARGEST_K:
        raise UserError(
            f"{field}: {name}: the K of lru-K must be a whole number from 1 to {_LARGEST_K}"
        )
    return LRUK(int(number))
