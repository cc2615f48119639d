"""Settings that every test shares."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# `ci` tries the same examples every time; `pytest --hypothesis-profile=explore` looks for new ones.
settings.register_profile(
    "ci",
    derandomize=True,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("explore", deadline=None, print_blob=True, max_examples=2_000)
settings.load_profile("ci")
