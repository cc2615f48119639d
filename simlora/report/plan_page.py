"""The page of a plan: the fleet and its price, what breaks first, and what else there is."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from html import escape
from typing import TYPE_CHECKING

from simlora import __version__
from simlora.planning.search import words
from simlora.planning.search.flags import servers
from simlora.planning.search.promises import WORDS
from simlora.report.basis import assumption_sentences, timing_rows
from simlora.report.limits import limits_of
from simlora.report.page import page
from simlora.report.plot import Plot, embedded
from simlora.report.run_plots import plots_of
from simlora.report.scenario_file import asked_hash
from simlora.report.table import paragraph, table, unbroken
from simlora.report.tiles import Tile, tile_row
from simlora.report.timing_words import profile_rows, timing_of, timing_sentence
from simlora.report.words import counted, duration, number, share, usd
from simlora.scenario.loading import dump_resolved
from simlora.sim import simulate

if TYPE_CHECKING:
    from simlora.planning.plan import Plan
    from simlora.planning.search.branch import Found
    from simlora.planning.search.peak import Peak
    from simlora.planning.search.trials import Confirmation
    from simlora.results.result import Result
    from simlora.scenario.schema import Scenario

_FLEETS_CAPTION = (
    "Fleets that meet every promise: the cheapest of each kind of GPU, and those that no other one "
    "found beats in price and p99 TTFT. Latencies are means over the runs of the search; how much "
    "of a bound is used is that of the run with the scenario's own seed."
)
_SHOWN = ("Latency by tier", "Where the time goes", "Load over time")
_NOT_MONOTONE = (
    "One replica more misses a promise, so promises are not kept ever better with more replicas "
    "here, and a cheaper fleet may have been missed."
)
_MONOTONE = "The search takes it that with more replicas promises are kept no worse."
_EVIDENCE = (
    "The worst run is that of the confirmation with the worst figure. Broken: the share of "
    "requests that break the promise, its upper confidence bound, beside what the promise allows."
)


def plan_page(plan: Plan) -> str:
    """What a search found as a page of its own. The fleet is simulated once more with the
    scenario's seed, to tell what limits it and to draw it; not so after an interruption."""
    scenario = plan.scenario if plan.best is None else plan.best.scenario
    look = plan.best is not None and not plan.interrupted
    result = simulate(scenario) if look else None
    body = [
        f"<h1>Plan for {escape(plan.scenario.name)}</h1>",
        f"<p class=soft>{escape(words.effort(plan))}</p>",
        "<h2>Summary</h2>",
        *(f"<p class=opening>{escape(text)}</p>" for text in _opening(plan)),
    ]
    if plan.best is not None:
        body += [tile_row(_tiles(plan, plan.best)), _evidence(plan.best.confirmation)]
    body += ["<h2>What limits this fleet</h2>", *_limits(plan, result)]
    fleets = _fleets(plan)
    plots = _run_plots(result)
    if len(fleets) > 1:
        from simlora.report.plan_figure import alternatives

        front = [one.name for one in plan.front]
        draw = partial(alternatives, fleets, front)
        plots.insert(0, Plot("Fleets that meet every promise", _FLEETS_CAPTION, draw))
    body += [*_figures(plots), *_alternatives(plan, fleets), *_how_to_start(plan)]
    held = [words.confidence(plan)] if plan.best is not None else []
    held.append(_MONOTONE if plan.monotone else _NOT_MONOTONE)
    body += _assumptions(held, scenario, result)
    search = ", ".join(str(seed) for seed in sorted({plan.scenario.seed, *plan.seeds}))
    confirming = ", ".join(map(str, plan.fresh_seeds or ())) or "none"
    body.append(
        _provenance(
            plan.scenario,
            [("seeds of the search", search), ("seeds of the confirmation", confirming)],
            result,
        )
    )
    return page(f"simlora: plan for {escape(plan.scenario.name)}", "\n".join(body))


def peak_page(peak: Peak, scenario: Scenario) -> str:
    """The load that the scenario's own fleet holds, as a page of its own."""
    result = simulate(scenario)
    name = escape(scenario.name)
    first, *rest = words.headroom(peak)
    body = [
        f"<h1>Load that {name} holds</h1>",
        "<h2>Summary</h2>",
        f"<p class=opening>{escape(first)}</p>",
        *([_evidence(peak.confirmation)] if peak.confirmation is not None else []),
        "<h2>What limits this fleet</h2>",
        *map(paragraph, rest),
        *_at_own_load(result, scenario.seed),
        *_figures(_run_plots(result)),
        *_assumptions(["A load is taken to be held if every smaller one is."], scenario, result),
        _provenance(scenario, [("seed", str(scenario.seed))], result),
    ]
    return page(f"simlora: load that {name} holds", "\n".join(body))


def _opening(plan: Plan) -> list[str]:
    """The fleet and its price, or why there is none."""
    told = []
    if plan.interrupted:
        told.append("The search was interrupted: this is the best it had found.")
    over = plan.max_cost_usd is not None and not plan.within_budget and not plan.interrupted
    if over:
        told += words.over_budget(plan)
    if plan.best is None:
        return [*told, *([] if plan.interrupted else words.infeasible(plan)[:1])]
    if not over:
        told.append(
            f"The cheapest fleet that meets every promise is {plan.best.name}, at "
            f"{usd(plan.best.usd_per_month)} a month."
        )
    return told


def _tiles(plan: Plan, best: Found) -> list[Tile]:
    configuration = best.candidate.configuration
    gpus = best.replicas * configuration.tensor_parallel
    told: list[Tile] = [
        ("Price a month", usd(best.usd_per_month), "GPUs and hosts, 720 hours"),
        ("Fleet", f"{counted(gpus, 'GPU')}", best.name),
        (
            "Time to first token, p99",
            duration(best.ttft_p99_s),
            "of all tiers, where it was confirmed",
        ),
    ]
    if plan.peak is not None and plan.peak.holds:
        rate = plan.peak.requests_per_s
        note = "of the scenario's" if rate is None else f"{number(rate)} requests a second"
        told.append(("Load that it holds", f"{plan.peak.holds:.3g} times", note))
    return told


def _evidence(confirmation: Confirmation) -> str:
    """What the runs of a confirmation show of each promise."""
    rows = [
        (
            escape(one.promise.tier_name),
            unbroken(f"{WORDS[one.promise.bound]} {one.promise.figure(one.promise.value)}"),
            "—" if one.worst is None else one.promise.figure(one.worst),
            f"{one.requests:,}",
            f"≤ {share(one.upper)}",
            share(one.promise.allowed),
        )
        for one in confirmation.evidence
    ]
    if not rows:
        return ""
    heads = ("tier", "promise", "worst run", "requests", "broken", "allowed")
    shown = table("promises", heads, rows, "What shows that promises are kept", named_by=2)
    return f"{shown}\n<p class=soft>{_EVIDENCE}</p>"


def _limits(plan: Plan, result: Result | None) -> list[str]:
    """What breaks first beyond the load that the fleet holds, and what limits it below; where
    there is no fleet, what stands against each that was closest."""
    told = [] if plan.peak is None else list(map(paragraph, words.headroom(plan.peak)))
    if result is not None:
        return told + _at_own_load(result, plan.scenario.seed)
    if plan.interrupted:
        return [*told, paragraph("The search was interrupted, so no fleet was looked into.")]
    return list(map(paragraph, words.infeasible(plan)[1:]))


def _at_own_load(result: Result, seed: int) -> list[str]:
    """What limits the fleet at the scenario's load."""
    note = f"<p class=soft>At the scenario's own load, with seed {seed}:</p>"
    return [note, *map(paragraph, limits_of(result))]


def _run_plots(result: Result | None) -> list[Plot]:
    """Figures of the fleet at the scenario's load."""
    if result is None:
        return []
    return [plot for plot in plots_of(result, None) if plot.title in _SHOWN]


def _figures(plots: Sequence[Plot]) -> list[str]:
    drawn = [embedded(plot, plot.file) for plot in plots]
    return ["<h2>Figures</h2>", *drawn] if drawn else []


def _fleets(plan: Plan) -> list[Found]:
    """All that is worth showing, cheapest first."""
    named = {one.name: one for one in (*plan.by_gpu, *plan.front)}
    return sorted(named.values(), key=lambda one: (one.usd_per_month, one.ttft_p99_s, one.name))


def _alternatives(plan: Plan, fleets: Sequence[Found]) -> list[str]:
    """The fleets as a table, and what growth would take."""
    told = []
    if len(fleets) > 1:
        heads = ("fleet", "USD a month", "TTFT p99", "of a bound used")
        rows = [
            (escape(f.name), usd(f.usd_per_month), duration(f.ttft_p99_s), share(f.used))
            for f in fleets
        ]
        told = ["<h2>Alternatives</h2>", table("fleets", heads, rows, "Alternatives")]
    if plan.regrown:
        told += ["<h2>What if</h2>", *map(paragraph, words.regrown(plan))]
    return told


def _how_to_start(plan: Plan) -> list[str]:
    """Command lines of servers people run."""
    if plan.best is None or not plan.within_budget:
        return []
    told = ["<h2>How to start a replica</h2>"]
    for server in servers(plan.best.scenario):
        notes = "".join(f"<br>{escape(note)}" for note in server.notes)
        told.append(f"<h3>{escape(server.name)}</h3>")
        told.append(f"<p class=soft>Options of {escape(server.checked)}.{notes}</p>")
        told.append(f"<pre>{escape(server.line)}</pre>")
    return told


def _assumptions(held: Sequence[str], scenario: Scenario, result: Result | None) -> list[str]:
    if result is None:
        times = [timing_sentence(timing_of(scenario))]
    else:
        times = assumption_sentences(result.summary)
    return ["<h2>Assumptions</h2>", *map(paragraph, (*held, " ".join(times)))]


def _times(scenario: Scenario) -> list[tuple[str, str]]:
    return [("times", "simulated"), *profile_rows(timing_of(scenario), scenario.timing.profile)]


def _provenance(scenario: Scenario, seeds: Sequence[tuple[str, str]], result: Result | None) -> str:
    told = asked_hash(dump_resolved(scenario))
    rows = [("simlora", __version__), ("scenario", f"{scenario.name} ({told})"), *seeds]
    rows += _times(scenario) if result is None else timing_rows(result)
    cells = [tuple(map(escape, row)) for row in rows]
    shown = table("provenance", ("what", "of this plan"), cells, "Provenance")
    return f"<h2>Provenance</h2>\n{shown}"
