"""The figure of an attack on the prefix cache: how well times tell right from wrong guesses."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from simlora.planning.isolation import Isolation, Leak
from simlora.report.figures import log_seconds
from simlora.report.style import BLUE, CYCLE, GREY, RED, new_figure

_COLUMNS = 3
_BINS = 60


def leakage(found: Isolation) -> Figure:
    """The ROC curves of all modes in one panel, and one for each mode with the times to first token
    of right and wrong guesses. All of these have the same axis of time, which
    leaves the slowest out."""
    rows = -(-(1 + len(found.leaks)) // _COLUMNS)
    figure = new_figure(0.6 + 2.5 * rows)
    panels = figure.subplots(rows, _COLUMNS, squeeze=False).flat
    answered = found.probes[found.probes["ttft_s"] > 0]
    roc, *others = panels
    for index, leak in enumerate(found.leaks):
        of_mode = answered[answered["mode"] == leak.mode]
        _roc(roc, of_mode, f"{leak.mode} ({leak.auc.value:.2f})", index)
    roc.plot([0, 1], [0, 1], color=GREY, lw=0.8, ls=":")
    roc.set_title("ROC curve (area under it)")
    roc.set_xlabel("wrong guesses called right")
    roc.set_ylabel("right guesses called right")
    roc.legend(loc="lower right", fontsize=7.5, handlelength=1.6)
    # Slow outliers would leave no room for the rest.
    low_s, high_s = answered["ttft_s"].quantile([0.0, 0.99])
    bins = np.geomspace(low_s, max(high_s, 1.01 * low_s), _BINS)
    for axes, leak in zip(others, found.leaks, strict=False):
        _times(axes, answered[answered["mode"] == leak.mode], leak, bins)
    for axes in others[len(found.leaks) :]:
        axes.set_visible(False)
    handles, labels = others[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure


def _roc(axes: Axes, probes: pd.DataFrame, label: str, index: int) -> None:
    ordered = probes.sort_values("ttft_s", kind="stable")
    last_of_ties = np.append(np.diff(ordered["ttft_s"]) > 0, True)
    right = ordered["right"].to_numpy()
    called_right = np.append(0, right.cumsum()[last_of_ties] / max(right.sum(), 1))
    called_wrong = np.append(0, (~right).cumsum()[last_of_ties] / max((~right).sum(), 1))
    # Curves may lie on top of each other.
    style = ("-", "--", "-.", (0, (1, 1)))[index % 4]
    axes.plot(called_wrong, called_right, color=CYCLE[index % len(CYCLE)], ls=style, label=label)


def _times(axes: Axes, probes: pd.DataFrame, leak: Leak, bins: np.ndarray) -> None:
    right = probes["right"].to_numpy()
    for kind, colour, label in ((right, BLUE, "right guess"), (~right, RED, "wrong guess")):
        times_s = probes["ttft_s"].to_numpy()[kind]
        axes.hist(times_s, bins=bins.tolist(), color=colour, alpha=0.55, label=label)
    axes.set_xscale("log")
    axes.set_title(leak.mode)
    axes.set_xlabel("time to first token")
    axes.set_ylabel("probes")
    log_seconds(axes.xaxis)
    axes.tick_params(axis="x", labelsize=7)
