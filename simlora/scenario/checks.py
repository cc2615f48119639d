"""What must hold across the fields of a scenario, as far as it shows without reading a trace."""

from __future__ import annotations

from simlora.errors import UserError
from simlora.scenario.adapter_checks import check_adapters
from simlora.scenario.batching_checks import check_batching
from simlora.scenario.catalog import ModelSpec, load_gpu, load_model
from simlora.scenario.cost_checks import check_cost
from simlora.scenario.event_checks import check_autoscaling, check_corrupt, check_events
from simlora.scenario.gateway import RateLimit
from simlora.scenario.placement_checks import check_placement
from simlora.scenario.problems import FieldError, did_you_mean, one_of
from simlora.scenario.schema import BurstArrivals, Scenario, TenantGroup, Workload
from simlora.scenario.time_checks import check_before_end
from simlora.scenario.traffic import Top
from simlora.scenario.versions_checks import check_versions

MOST_REPLICAS = 10_000
MOST_TENANTS = 2_000_000
MOST_ADAPTERS = 2_000_000


def check(scenario: Scenario) -> None:
    """Raises FieldError for the first thing that does not fit together."""
    models = _check_catalog(scenario)
    _check_tenants(scenario)
    _check_fleet(scenario, models)
    check_placement(scenario)
    if scenario.workload.trace is None:
        _check_synthetic(scenario)
    else:
        _check_trace(scenario)
    check_before_end(scenario, ("run", "warmup_s"), scenario.run.warmup_s)
    _check_engine(scenario, min(models, key=lambda model: model.max_position_embeddings))
    check_adapters(scenario)
    check_batching(scenario)
    check_versions(scenario, MOST_ADAPTERS)
    check_autoscaling(scenario)
    check_events(scenario)
    check_corrupt(scenario)
    _check_names(scenario)
    _check_rate_limits(scenario)
    check_cost(scenario, tiers_in_use(scenario))


def tenant_exists(scenario: Scenario, name: str) -> bool:
    """Whether the scenario expands to a tenant of that name, without expanding it."""
    group_name, _, number = name.rpartition("-")
    return any(
        group.name == group_name
        and number.isdecimal()
        and int(number) < group.count
        and number == f"{int(number):04d}"
        for group in scenario.tenants
    )


def tiers_in_use(scenario: Scenario) -> list[str]:
    """Names of all tiers, those that only tenant groups name included."""
    return list(dict.fromkeys([*scenario.tiers, *(group.tier for group in scenario.tenants)]))


def _check_catalog(scenario: Scenario) -> list[ModelSpec]:
    """Every own entry must be whole, used or not. Returns the models of the pools."""
    own = scenario.catalog
    for name in own.gpus:
        load_gpu(name, own)
    for name in own.models:
        load_model(scenario.model.model_copy(update={"name": name}), own)
    try:
        model = load_model(scenario.model, own)
    except UserError as error:
        raise FieldError(("model", "name"), str(error)) from None
    models = []
    for index, pool in enumerate(scenario.fleet):
        try:
            models.append(model if pool.model is None else load_model(pool.model, own))
        except UserError as error:
            raise FieldError(("fleet", index, "model", "name"), str(error)) from None
    return models


def _check_fleet(scenario: Scenario, models: list[ModelSpec]) -> None:
    replicas = sum(pool.replicas for pool in scenario.fleet)
    if replicas > MOST_REPLICAS:
        raise FieldError(("fleet",), f"{replicas:,} replicas are more than {MOST_REPLICAS:,}")
    for index, (pool, model) in enumerate(zip(scenario.fleet, models, strict=True)):
        try:
            load_gpu(pool.gpu, scenario.catalog)
        except UserError as error:
            raise FieldError(("fleet", index, "gpu"), str(error)) from None
        parts, kv_heads = pool.tensor_parallel, model.num_key_value_heads
        shareable = kv_heads % parts == 0 or parts % kv_heads == 0
        if model.num_attention_heads % parts or model.intermediate_size % parts or not shareable:
            raise FieldError(
                ("fleet", index, "tensor_parallel"),
                f"{parts} does not divide the model: {model.name} has "
                f"{model.num_attention_heads} heads, {kv_heads} KV heads and intermediate size "
                f"{model.intermediate_size}",
            )


def _check_tenants(scenario: Scenario) -> None:
    seen: dict[str, int] = {}
    for index, group in enumerate(scenario.tenants):
        # Without `tiers`, or left at its default, a tier promises nothing and needs no entry.
        default = TenantGroup.model_fields["tier"].default
        if scenario.tiers and group.tier != default and group.tier not in scenario.tiers:
            raise FieldError(
                ("tenants", index, "tier"),
                f'unknown tier "{group.tier}"; {did_you_mean(group.tier, scenario.tiers)}',
            )
        if group.name in seen:
            raise FieldError(
                ("tenants", index, "name"),
                f'"{group.name}" is already the name of tenants.{seen[group.name]}',
            )
        seen[group.name] = index
    tenants = sum(group.count for group in scenario.tenants)
    if tenants > MOST_TENANTS:
        raise FieldError(("tenants",), f"{tenants:,} tenants are more than {MOST_TENANTS:,}")
    adapters = sum(group.count * group.adapters for group in scenario.tenants)
    if adapters > MOST_ADAPTERS:
        raise FieldError(("tenants",), f"{adapters:,} adapters are more than {MOST_ADAPTERS:,}")


def _check_trace(scenario: Scenario) -> None:
    """A trace brings its own arrivals, tenants and lengths."""
    default = Workload()
    for field in ("rate_rps", "popularity", "arrivals", "prompt_tokens", "output_tokens"):
        if getattr(scenario.workload, field) != getattr(default, field):
            raise FieldError(
                ("workload", field),
                "belongs to synthetic traffic and has no meaning beside workload.trace",
            )
    for index, group in enumerate(scenario.tenants):
        for field in ("rate_rps_each", "prompt_tokens", "output_tokens"):
            if getattr(group, field) is not None:
                raise FieldError(
                    ("tenants", index, field),
                    "belongs to synthetic traffic and has no meaning beside workload.trace",
                )


def _check_synthetic(scenario: Scenario) -> None:
    workload = scenario.workload
    if workload.rate_scale != 1.0:
        raise FieldError(("workload", "rate_scale"), "needs workload.trace: it speeds up a replay")
    with_rate = [i for i, group in enumerate(scenario.tenants) if group.rate_rps_each is not None]
    if workload.rate_rps is None and not with_rate:
        raise FieldError(
            ("workload", "rate_rps"),
            "is missing: give the whole load here, rate_rps_each in every tenant group, or a trace",
        )
    if workload.rate_rps is not None and with_rate:
        raise FieldError(
            ("tenants", with_rate[0], "rate_rps_each"),
            "and workload.rate_rps both set the load: keep one of them",
        )
    if with_rate:
        _check_rates_of_groups(scenario)
    if isinstance(workload.popularity, Top):
        targets = sum(group.count * max(group.adapters, 1) for group in scenario.tenants)
        if workload.popularity.top.count >= targets:
            raise FieldError(
                ("workload", "popularity", "top", "count"),
                f"must be less than the {targets:,} adapters there are, "
                f"not {workload.popularity.top.count:,}",
            )
    if isinstance(workload.arrivals, BurstArrivals):
        _check_bursts(scenario, workload.arrivals)


def _check_rates_of_groups(scenario: Scenario) -> None:
    for index, group in enumerate(scenario.tenants):
        if group.rate_rps_each is None:
            raise FieldError(
                ("tenants", index, "rate_rps_each"),
                "is missing: if one tenant group has it, all need it (0 for a silent group)",
            )
    if not any(group.rate_rps_each for group in scenario.tenants):
        raise FieldError(("tenants", 0, "rate_rps_each"), "is 0 in every group: nobody asks")
    if scenario.workload.popularity != Workload().popularity:
        raise FieldError(
            ("workload", "popularity"),
            "splits workload.rate_rps and has no meaning beside rate_rps_each",
        )


def _check_bursts(scenario: Scenario, arrivals: BurstArrivals) -> None:
    for index, burst in enumerate(arrivals.bursts):
        where = ("workload", "arrivals", "bursts", index)
        groups = [group.name for group in scenario.tenants]
        if burst.tenant not in groups and not tenant_exists(scenario, burst.tenant):
            names = [f"{group}-0000" for group in groups]
            raise FieldError(
                (*where, "tenant"),
                f'no tenant "{burst.tenant}": a group\'s tenants are named like {one_of(names)}, '
                f"all of a group like {one_of(groups)}",
            )
        check_before_end(scenario, (*where, "start_s"), burst.start_s)


def _check_engine(scenario: Scenario, model: ModelSpec) -> None:
    engine = scenario.engine
    if engine.max_num_batched_tokens < engine.max_num_seqs:
        raise FieldError(
            ("engine", "max_num_batched_tokens"),
            f"must be at least engine.max_num_seqs ({engine.max_num_seqs}), "
            f"not {engine.max_num_batched_tokens}",
        )
    longest = model.max_position_embeddings
    if engine.max_model_len is not None and engine.max_model_len > longest:
        raise FieldError(
            ("engine", "max_model_len"),
            f"must be at most {longest}, the limit of {model.name}, not {engine.max_model_len}",
        )
    block = scenario.workload.prefix_block_tokens
    if block is not None and block % engine.kv_block_tokens:
        raise FieldError(
            ("workload", "prefix_block_tokens"),
            f"must be a multiple of engine.kv_block_tokens ({engine.kv_block_tokens}), not {block}",
        )


def _check_names(scenario: Scenario) -> None:
    tiers = tiers_in_use(scenario)
    for index, name in enumerate(scenario.adapters.hot.pinned_tiers):
        if name not in tiers:
            raise FieldError(
                ("adapters", "hot", "pinned_tiers", index),
                f'no tier "{name}": {did_you_mean(name, tiers)}',
            )
    gateway = scenario.gateway
    for path, named_tiers in (
        (("gateway", "timeouts_s"), gateway.timeouts_s),
        (("gateway", "admission", "max_queue"), gateway.admission.max_queue),
    ):
        for name in named_tiers:
            if name not in tiers:
                raise FieldError((*path, name), f'no tier "{name}": {did_you_mean(name, tiers)}')
    named = [("rate_limits", name) for name in gateway.rate_limits]
    named += [("kv_budgets", name) for name in gateway.kv_budgets]
    for field, name in named:
        if name not in tiers and not tenant_exists(scenario, name):
            raise FieldError(
                ("gateway", field, name),
                f"is neither a tier nor a tenant: {did_you_mean(name, tiers)}",
            )


def _check_rate_limits(scenario: Scenario) -> None:
    """A burst is how full a bucket may get, so it needs the rate that fills the bucket."""
    default = RateLimit.model_fields["burst"].default
    for name, limit in scenario.gateway.rate_limits.items():
        where = ("gateway", "rate_limits", name)
        if limit.tokens_per_s is None and limit.burst_tokens is not None:
            raise FieldError(
                (*where, "burst_tokens"), "needs tokens_per_s, the rate at which it fills"
            )
        if limit.rps is None and limit.burst != default:
            raise FieldError((*where, "burst"), "needs rps, the rate at which it fills")
