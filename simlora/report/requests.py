"""The table of a run's requests, as far as a part of a report needs it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from simlora.errors import UserError
from simlora.results.files import REQUESTS
from simlora.results.result import Result

if TYPE_CHECKING:
    import pandas as pd


def read_requests(result: Result, columns: Sequence[str]) -> pd.DataFrame:
    """These columns of `requests.parquet`. Raises UserError if they cannot be read."""
    import pandas as pd
    import pyarrow as pa

    path = result.directory / REQUESTS
    try:
        return pd.read_parquet(path, columns=list(columns))
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(
            f"{path}: cannot be read as the Parquet table of a run: {str(error).splitlines()[0]}"
        ) from error
