"""ServeGen client files (arXiv 2505.09999): requests drawn from each client's measured windows.

ServeGen publishes no requests but, for each client, `…chunk-N-trace.csv` (a window's start in s,
request rate per s, coefficient of variation of the gaps, their family and its fitted parameters;
windows of 600 s) and `…chunk-N-dataset.json` (histograms of input and output tokens; windows of
hours). Each client becomes a tenant, in the order of N; it sends with the window's rate, cv and
family (the fitted parameters are left aside: they do not reproduce the measured rate), and draws
lengths from the histograms of the window, or of the nearest window that has any.
"""

from __future__ import annotations

import csv
import json
import math
import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from simlora.errors import UserError
from simlora.workload.arrivals.renewal import Constant, Gamma, Poisson, Renewal, Weibull
from simlora.workload.blocks import BLOCK_ROWS, Floats
from simlora.workload.importers.assign import tenant_names
from simlora.workload.importers.base import ImportOptions, Source, SourceRows
from simlora.workload.lengths import HistogramLength
from simlora.workload.randomness import Purpose, stream
from simlora.workload.tables import Place, check_file
from simlora.workload.trace import TraceRows

_FILE_NAME = re.compile(r"^(?P<model>.*)chunk-(?P<client>\d+)-(?P<kind>trace\.csv|dataset\.json)$")
_WINDOW_S = 600.0  # as published
_CV_RANGE = (0.01, 100.0)  # measured from a handful of requests, cv can be 0 or absurd


@dataclass(frozen=True, slots=True)
class Window:
    """A client's traffic from `start_s` on."""

    start_s: float
    rate_rps: float
    gaps: Renewal


@dataclass(slots=True)
class Client:
    """One client: its windows, its histograms, and how far its renewal process has come."""

    number: int
    windows: dict[float, Window]
    window_s: float
    input_tokens: list[tuple[float, HistogramLength]]
    output_tokens: list[tuple[float, HistogramLength]]
    arrivals: np.random.Generator
    lengths: np.random.Generator
    units_to_next: float = field(default=-1.0)

    def times(self, window: Window) -> Floats:
        """Return the arrivals of a window. Gaps run on through the windows, in units of the mean
        gap, so that the measured rate holds however long a gap is."""
        if self.units_to_next < 0:
            self.units_to_next = self.arrivals.random() * float(
                window.gaps.unit_gaps(self.arrivals, 1)[0]
            )
        expected = window.rate_rps * self.window_s
        points = np.array([self.units_to_next])
        while points[-1] < expected:
            more = window.gaps.unit_gaps(self.arrivals, int(expected) + 16)
            points = np.append(points, points[-1] + np.cumsum(more))
        count = int(np.searchsorted(points, expected))
        self.units_to_next = float(points[count]) - expected
        return window.start_s + points[:count] / window.rate_rps


def servegen(inputs: list[Path], options: ImportOptions) -> Source:
    """Client files, or directories of them."""
    files = _client_files(inputs)
    clients, without = [], []
    for position, ((_, number), pair) in enumerate(sorted(files.items())):
        if "trace.csv" not in pair or "dataset.json" not in pair:
            without.append(number)
            continue
        prompts, outputs = _read_lengths(pair["dataset.json"])
        windows, window_s = _read_windows(pair["trace.csv"])
        client = Client(
            number,
            windows,
            window_s,
            input_tokens=prompts,
            output_tokens=outputs,
            arrivals=stream(options.seed, Purpose.IMPORT_ARRIVALS, position),
            lengths=stream(options.seed, Purpose.IMPORT_LENGTHS, position),
        )
        clients.append(client)
    if not clients:
        raise UserError(
            f"{inputs[0]}: no client with both chunk-N-trace.csv and chunk-N-dataset.json"
        )
    names = tenant_names(len(clients))
    shown = ", ".join(f"{n} = client {c.number}" for n, c in zip(names[:3], clients, strict=False))
    notes = [f"clients: {len(clients)} ({shown}{' …' if len(clients) > 3 else ''})"]
    if without:
        notes.append(f"clients left out because one of their two files is missing: {len(without)}")

    return Source(_generate(clients, names, inputs[0]), None, tuple(notes))


def _client_files(inputs: list[Path]) -> dict[tuple[str, int], dict[str, Path]]:
    found: dict[tuple[str, int], dict[str, Path]] = {}
    for given in inputs:
        if not given.exists():
            raise UserError(f"{given}: no such file or directory")
        for path in sorted(given.iterdir()) if given.is_dir() else [given]:
            match = _FILE_NAME.match(path.name)
            if match:
                key = (str(path.parent / match["model"]), int(match["client"]))
                found.setdefault(key, {})[match["kind"]] = path
            elif not given.is_dir():
                raise UserError(
                    f"{path}: not a client file; their names end in chunk-N-trace.csv and "
                    "chunk-N-dataset.json"
                )
    return found


def _read_windows(path: Path) -> tuple[dict[float, Window], float]:
    """Return the windows with traffic by their start, and the length of a window."""
    check_file(path)
    windows: dict[float, Window] = {}
    starts: list[float] = []
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        for line, fields in enumerate(csv.reader(file), start=1):
            where = f"{path}:{line}"
            if len(fields) != 6:
                raise UserError(
                    f"{where}: {len(fields)} fields, allowed is 6: start, rate, cv, family and its "
                    "two parameters"
                )
            start_s, rate, cv = (_number(text, where) for text in fields[:3])
            if starts and start_s <= starts[-1]:
                raise UserError(f"{where}: window {start_s:g} is not after {starts[-1]:g}")
            starts.append(start_s)
            if rate > 0:
                windows[start_s] = Window(start_s, rate, _gaps(fields[3], cv, where))
    window_s = float(np.diff(starts).min()) if len(starts) > 1 else _WINDOW_S
    return windows, window_s


def _gaps(family: str, cv: float, where: str) -> Renewal:
    if cv == 0:
        return Constant()
    clipped = min(max(cv, _CV_RANGE[0]), _CV_RANGE[1])
    match family:
        case "Gamma":
            return Gamma(clipped)
        case "Weibull":
            return Weibull(clipped)
        case "" | "Exponential":
            return Poisson()
    raise UserError(f"{where}: family {family!r}, allowed is Gamma or Weibull")


def _read_lengths(
    path: Path,
) -> tuple[list[tuple[float, HistogramLength]], list[tuple[float, HistogramLength]]]:
    check_file(path)
    try:
        windows = json.loads(path.read_text("utf-8"))
        parsed = sorted((float(start), window) for start, window in windows.items())
        sides = [
            [(start, _histogram(window[side])) for start, window in parsed]
            for side in ("input_tokens", "output_tokens")
        ]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(
            f"{path}: not a ServeGen data set of windows with histograms input_tokens and "
            f"output_tokens ({type(error).__name__}: {error})"
        ) from error
    filled = [[(start, one) for start, one in side if one is not None] for side in sides]
    if not all(filled):
        raise UserError(f"{path}: every histogram of a side is empty")
    return filled[0], filled[1]


def _histogram(text: str) -> HistogramLength | None:
    """Read a histogram `{tokens: share, …}` that is published as a string."""
    body = text.strip().removeprefix("{").removesuffix("}")
    if not body.strip():
        return None
    pairs = [item.split(":") for item in body.split(",")]
    tokens = np.array([int(key) for key, _ in pairs], dtype=np.int64)
    shares = np.array([float(value) for _, value in pairs])
    if tokens.min() < 0 or not np.isfinite(shares).all() or shares.min() < 0 or shares.sum() <= 0:
        raise ValueError("a histogram has negative tokens or shares")
    return HistogramLength(tokens, shares)


def _generate(clients: list[Client], names: list[str], origin: Path) -> Iterator[SourceRows]:
    """Draw window by window, all clients at once, so that memory holds one window."""
    starts = sorted({start for client in clients for start in client.windows})
    dictionary = pa.array(names)
    row = 0
    for start in starts:
        parts = []
        for tenant, client in enumerate(clients):
            window = client.windows.get(start)
            if window is None:
                continue
            times = client.times(window)
            count = len(times)
            prompt = _nearest(client.input_tokens, start).sample(client.lengths, count)
            output = _nearest(client.output_tokens, start).sample(client.lengths, count)
            parts.append((times, np.full(count, tenant, dtype=np.int32), prompt, output))
        arrival_s, tenants, prompts, outputs = map(np.concatenate, zip(*parts, strict=True))
        order = np.argsort(arrival_s, kind="stable")
        for first in range(0, len(order), BLOCK_ROWS):
            rows = order[first : first + BLOCK_ROWS]
            tenant_array = pa.DictionaryArray.from_arrays(pa.array(tenants[rows]), dictionary)
            place = Place(origin, row, is_text=False)
            row += len(rows)
            yield SourceRows(
                place,
                TraceRows(
                    arrival_s[rows], tenant_array, tenant_array, prompts[rows], outputs[rows]
                ),
            )


def _nearest(histograms: list[tuple[float, HistogramLength]], start_s: float) -> HistogramLength:
    """Return the histogram of the window that `start_s` lies in, or else the first one."""
    index = bisect_right(histograms, start_s, key=lambda item: item[0]) - 1
    return histograms[max(index, 0)][1]


def _number(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise UserError(f"{where}: {text!r} is not a number of 0 or more")
    return value
