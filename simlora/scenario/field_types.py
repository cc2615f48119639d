"""Number and name types that the schema's fields share."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

PositiveInt = Annotated[int, Field(gt=0, le=1_000_000_000_000)]
Tokens = Annotated[int, Field(gt=0, le=100_000_000)]  # the length of one request
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]
# Wide enough for any real server and any experiment, narrow enough that a run ends.
Latency = Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]  # seconds
Gbps = Annotated[float, Field(ge=0.0001, le=1_000_000, allow_inf_nan=False)]
Usd = Annotated[float, Field(ge=0, le=1_000_000_000, allow_inf_nan=False)]
Rate = Annotated[float, Field(gt=0, le=1_000_000, allow_inf_nan=False)]  # a second
Duration = Annotated[float, Field(gt=0, le=1_000_000_000, allow_inf_nan=False)]  # seconds; 30 years
Fraction = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=64)]
