"""The figures of a comparison that are about capacity and about who is served from it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from simlora.planning.adapter_stream import MOST_ACCESSES
from simlora.planning.bound import BELADY
from simlora.planning.capacity_curves import CapacityCurves
from simlora.planning.ranks import RankBucket
from simlora.report.style import CYCLE, GREY, MARKERS, new_figure
from simlora.report.words import counted, size

MOST_VARIANTS = 12  # lines that the ranks' panel has room for
_ROW = 115  # characters
_BOUND_LOOK: dict[str, Any] = {"color": GREY, "ls": "--", "lw": 1.8, "ms": 4, "mew": 0}


def capacity(found: CapacityCurves) -> Figure:
    """Miss ratio and seconds of reloading over the places for adapters, a line for each policy."""
    figure = new_figure(3.9)
    misses, reloads = figure.subplots(1, 2)
    looks = _looks([curve.policy for curve in found.curves if curve.policy != BELADY])
    for curve in found.curves:
        look = _BOUND_LOOK | {"label": f"{BELADY} (bound)"}
        if curve.policy != BELADY:
            look = looks[curve.policy] | {"label": curve.policy}
        misses.plot(found.places, [100 * ratio for ratio in curve.miss_ratio], **look)
        reloads.plot(found.places, curve.reload_s_per_1000, **look)
    for axes in (misses, reloads):
        for place, own in enumerate(found.own):
            label = _own_label(found.own) if not place else None
            axes.axvline(own, color=GREY, ls=":", lw=1.4, zorder=1, label=label)
        _places_axis(axes, found)
        axes.set_ylim(bottom=0)
    misses.set_title("adapter not found hot")
    misses.set_ylabel("share of requests, %")
    reloads.set_title("waiting for adapters")
    reloads.set_ylabel("seconds per 1,000 requests")
    _legend(figure, misses)
    return figure


def capacity_caption(found: CapacityCurves) -> str:
    """What the curves of `capacity` rest on."""
    stream = found.stream
    many = f"{len(stream.adapter):,} requests for {stream.used:,} adapters"
    if stream.cut:
        many = f"first {MOST_ACCESSES:,} requests, for {stream.used:,} adapters"
    place = size(stream.place_bytes)
    if stream.by_count:
        held = f"A place holds any adapter and takes {place}, the mean,"
    else:
        held = f"A place is {place}, a mean adapter,"
    own = "" if found.own else " GPU memory has no bound of its own for adapters here."
    fleet = ""
    if found.replicas > 1:
        fleet = (
            f" The curves are for one cache that sees all requests, while the {found.replicas} "
            "replicas have one each and share the requests."
        )
    return (
        f"One cache on its own, asked by the {many} of {found.variant} with seed {found.seed}, in "
        "the order of arrival and without those for the base model: nothing is in use there, and "
        "what is missed is there at once. Waiting is misses times the seconds that each adapter "
        "takes from where it lies at the start over an idle link; requests that wait for the same "
        f"load, or for others, are not in it. {held} of GPU memory, priced by its share of the "
        f"memory of all GPUs of a replica.{own}{fleet}"
    )


def ranks(buckets: Mapping[str, Sequence[RankBucket]], bounds: Sequence[str]) -> Figure:
    """Hit ratio over the rank of tenants by their number of requests, a line for each variant;
    `bounds` names those that evict as Belady does."""
    figure = new_figure(3.6)
    axes = figure.subplots()
    names = list(buckets)[:MOST_VARIANTS]
    looks = _looks([name for name in names if name not in bounds])
    if len(bounds) > 1:
        shapes = _looks(bounds)
        looks |= {name: _BOUND_LOOK | {"marker": shapes[name]["marker"]} for name in bounds}
    last = 1
    for name in names:
        found = [bucket for bucket in buckets[name] if bucket.hit_ratio is not None]
        at = [(bucket.first * bucket.last) ** 0.5 for bucket in found]
        look = looks.get(name, _BOUND_LOOK) | {
            "label": name if len(name) <= 40 else name[:39] + "…"
        }
        axes.plot(at, [100 * (bucket.hit_ratio or 0.0) for bucket in found], **look)
        last = max([last, *(bucket.last for bucket in found)])
    axes.set_xscale("log")
    axes.set_xlim(0.9, last * 1.1)
    _log_numbers(axes.xaxis, math.log10(last), most=5.0)
    axes.set_ylim(0, 104)
    axes.set_title("adapter found hot, by rank of the tenant")
    axes.set_ylabel("share of requests, %")
    axes.set_xlabel("rank of the tenant by its number of requests, the busiest first")
    _legend(figure, axes)
    return figure


def ranks_caption(buckets: Mapping[str, Sequence[RankBucket]], replications: int) -> str:
    """What the lines of `ranks` rest on."""
    over = f", the {replications} replications together" if replications > 1 else ""
    shown = ""
    if len(buckets) > MOST_VARIANTS:
        shown = f" The first {MOST_VARIANTS} of {len(buckets)} variants are shown."
    return (
        "Tenants are ranked in each replication; a point is the share of the requests of ranks 1, "
        f"2, 3 to 4, 5 to 8 and so on that found their adapter in GPU memory{over}.{shown}"
    )


def _looks(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Colour and marker of each line; those that share a colour differ in the marker."""
    return {
        name: {
            "color": CYCLE[index % len(CYCLE)],
            "marker": MARKERS[(index + index // len(CYCLE)) % len(MARKERS)],
            "ms": 4,
            "mew": 0,
        }
        for index, name in enumerate(names)
    }


def _own_label(own: Sequence[int]) -> str:
    if len(own) == 1:
        return f"the scenario's {counted(own[0], 'place')}"
    told = ", ".join(f"{each:,}" for each in own[:4])
    more = ", …" if len(own) > 4 else ""
    return f"the variants' {told}{more} places"


def _places_axis(axes: Axes, found: CapacityCurves) -> None:
    """Places along the bottom, and along the top what their memory costs."""
    axes.set_xscale("log")
    axes.set_xlim(found.places[0] / 1.1, found.places[-1] * 1.1)
    decades = math.log10(found.places[-1] / found.places[0])
    _log_numbers(axes.xaxis, decades)
    axes.set_xlabel("places for adapters in GPU memory")
    price = found.usd_month_per_place
    if not price:  # the GPUs are free
        return

    def of_places(places: Any) -> Any:
        return places * price

    def in_places(usd: Any) -> Any:
        return usd / price

    top = axes.secondary_xaxis("top", functions=(of_places, in_places))
    _log_numbers(top.xaxis, decades)
    top.set_xlabel("price of that memory, USD a month")


def _log_numbers(axis: Axis, decades: float, most: float = 2.5) -> None:
    """Labels at 1, 2 and 5 of each decade, or at 1 alone where there are more than `most`."""
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if decades <= most else (1.0,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    if decades <= most:
        axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def _legend(figure: Figure, axes: Axes) -> None:
    """Under the panels, in one row if it is wide enough."""
    handles, labels = axes.get_legend_handles_labels()
    in_a_row = sum(len(label) + 7 for label in labels) <= _ROW
    longest = max(len(label) for label in labels)
    columns = len(labels) if in_a_row else max(_ROW // (longest + 7), 1)
    figure.legend(handles, labels, loc="outside lower center", ncols=columns)
