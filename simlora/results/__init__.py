"""What happened in a run: recording it, statistics, the result directory."""

from simlora.results.result import Result, load_result

__all__ = ["Result", "load_result"]
