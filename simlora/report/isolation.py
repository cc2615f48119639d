"""The files of `simlora isolation`: figures for programs and a picture for people."""

from __future__ import annotations

import json
from pathlib import Path

from simlora.errors import UserError
from simlora.planning.isolation import Isolation, as_json

JSON, PNG, PROBES = "isolation.json", "isolation.png", "probes.parquet"


def write_isolation(found: Isolation, directory: Path) -> list[Path]:
    """Write the files into `directory`, made if need be; return their paths.

    Raises:
        UserError: they cannot be written.
    """
    from simlora.report.isolation_figure import leakage
    from simlora.report.style import styled_alone

    try:
        directory.mkdir(parents=True, exist_ok=True)
        text = json.dumps(as_json(found), indent=2, allow_nan=False, ensure_ascii=False) + "\n"
        (directory / JSON).write_text(text, encoding="utf-8", newline="\n")
        found.probes.to_parquet(directory / PROBES, index=False)
        with styled_alone():
            leakage(found).savefig(directory / PNG, dpi=150, metadata={"Software": None})
    except OSError as error:
        raise UserError(f"{directory}: cannot write there: {error.strerror or error}") from error
    return [directory / name for name in (JSON, PNG, PROBES)]
