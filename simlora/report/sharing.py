"""Who shared cached prefixes with whom in a run: what was asked for, and what was found."""

from __future__ import annotations

from simlora.report.measured import from_outside
from simlora.report.requests import read_requests
from simlora.report.scenario_file import scenario_of
from simlora.report.words import counted, share, tokens
from simlora.results.result import Result

_FORCE = {
    "adapter": "Prefixes are cached for each adapter on its own: only requests for the adapter "
    "that computed a prefix find it again.",
    "tenant": "Prefixes are cached for each tenant on its own: only requests of the tenant that "
    "computed a prefix find it again.",
    "selective": "Prefixes are cached for each adapter on its own, but for the platform's common "
    "prompt and what is classed as public, which all share.",
    "shared": "All tenants share one cache of prefixes: what one has computed, any other finds "
    "again, and can tell so from the time to its first token.",
}
_MORE = (
    "What each kind of isolation costs on this scenario, and what an attacker learns under it: "
    "simlora isolation."
)
_COLUMNS = [
    "tenant",
    "adapter",
    "arrival_s",
    "queue_s",
    "adapter_wait_s",
    "cached_tokens",
    "ttft_s",
]


def who_shares(result: Result) -> list[str]:
    """Paragraphs; none where nothing was looked up in a prefix cache, there is but one tenant, or a
    client measured the run. Raises UserError if the table of requests cannot be read."""
    summary = result.summary
    cache = scenario_of(result).get("engine", {}).get("prefix_cache", {})
    mode, prefix = cache.get("isolation"), summary["prefix_cache"]
    if mode not in _FORCE or not prefix["lookup_tokens"] or from_outside(summary):
        return []
    if len(result.tenants) < 2:
        return []
    found = (
        f"Of {tokens(prefix['lookup_tokens'])} prompt tokens that were looked up, "
        f"{tokens(prefix['hit_tokens'])} ({share(prefix['hit_ratio'])}) were found and not "
        "computed again."
    )
    crossing = _crossing(result, mode)
    return [" ".join(filter(None, (_FORCE[mode], found, crossing))), _MORE]


def _crossing(result: Result, mode: str) -> str:
    """Whether prefixes crossed between those that the cache keeps apart. Whoever is the first of
    its own to be served can only find what others have computed."""
    summary = result.summary
    # Of a tenant that had an answer of the base model, or another version, the cache keeps more
    # than one part.
    if summary.get("versions") or summary["adapters"].get("base_model_token_share"):
        return ""
    rows = read_requests(result, _COLUMNS)
    rows = rows[rows["ttft_s"].notna()]
    own = ["tenant"] if mode in ("tenant", "shared") else ["tenant", "adapter"]
    whose = "tenant" if len(own) == 1 else "adapter"
    # The base model's requests have no adapter.
    keys = rows[own].astype(str).agg("\0".join, axis=1)
    served_s = rows["arrival_s"] + rows["queue_s"] + rows["adapter_wait_s"]
    ordered = rows.assign(key=keys, served_s=served_s).sort_values(["served_s", "cached_tokens"])
    first = ordered.drop_duplicates("key")
    parts, crossed = len(first), int(first["cached_tokens"].sum())
    if parts < 2:
        return ""
    whom = f"The first requests of the {counted(parts, whose)} that were served, which could find "
    whom += f"only what other {whose}s had computed, found"
    if not crossed:
        return f"{whom} nothing: no prefix crossed from one {whose} to another."
    return f"{whom} {tokens(crossed)} tokens."
