"""A finished run: its summary, its tables and where its files lie."""

from __future__ import annotations

import json
import shutil
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from simlora.errors import UserError
from simlora.results.files import ALL, REQUESTS, SUMMARY, TENANTS, TIMELINE
from simlora.results.wellformed import flaw

if TYPE_CHECKING:
    import pandas as pd


class Result:
    """What a run left: `summary` (a dict, see `summary.json`) and the tables as pandas frames,
    read when first asked for. A result of an in-memory run lives in a temporary directory that
    goes with the object; `save` keeps it."""

    def __init__(
        self,
        directory: Path,
        summary: dict[str, Any],
        owner: TemporaryDirectory[str] | None = None,
    ) -> None:
        self.directory = directory
        self.summary = summary
        self._owner = owner

    @cached_property
    def requests(self) -> pd.DataFrame:
        """One row a request, in the order in which they ended."""
        return self._table(REQUESTS)

    @cached_property
    def tenants(self) -> pd.DataFrame:
        """One row a tenant."""
        return self._table(TENANTS)

    @cached_property
    def timeline(self) -> pd.DataFrame:
        """Gauges, one row per instant and replica."""
        return self._table(TIMELINE)

    def save(self, directory: str | Path) -> Path:
        """Copy the files to `directory`, made if need be; files of an earlier run are replaced.

        Raises:
            UserError: `directory` is a file, or cannot be written to.
        """
        target = Path(directory)
        try:
            target.mkdir(parents=True, exist_ok=True)
            if target.resolve() != self.directory.resolve():
                for name in ALL:
                    source = self.directory / name
                    if source.exists():
                        shutil.copyfile(source, target / name)
                    else:
                        (target / name).unlink(missing_ok=True)
        except OSError as error:
            raise UserError(
                f"{target}: cannot save the result there: {error.strerror or error}"
            ) from error
        return target

    def __repr__(self) -> str:
        return f"Result({self.summary.get('name')!r}, {str(self.directory)!r})"

    def _table(self, name: str) -> pd.DataFrame:
        import pandas as pd
        import pyarrow as pa

        path = self.directory / name
        try:
            return pd.read_parquet(path)
        except (OSError, pa.ArrowInvalid) as error:
            raise UserError(
                f"{path}: cannot be read as the Parquet table of a run: "
                f"{str(error).splitlines()[0]}"
            ) from error


def load_result(directory: str | Path) -> Result:
    """The result that a run wrote to `directory`.

    Raises:
        UserError: it is no directory, a file is missing, or `summary.json` is not a summary.
    """
    place = Path(directory)
    if not place.is_dir():
        what = "is a file, not a directory" if place.exists() else "does not exist"
        raise UserError(f"{place}: {what}; give the directory that `simlora run` wrote")
    missing = [n for n in (SUMMARY, REQUESTS, TENANTS, TIMELINE) if not (place / n).is_file()]
    if missing:
        raise UserError(
            f"{place}: is no result directory, {missing[0]} is missing; "
            "give the directory that `simlora run` wrote"
        )
    path = place / SUMMARY
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: is not JSON: {error}") from error
    key = flaw(summary)
    if key is not None:
        raise UserError(f"{path}: is not the summary of a run: {key} is missing or of another kind")
    return Result(place, summary)


def scratch_directory() -> TemporaryDirectory[str]:
    """A place for the files of an in-memory run; hand it to the result that is to own it."""
    return TemporaryDirectory(prefix="simlora-", ignore_cleanup_errors=True)
