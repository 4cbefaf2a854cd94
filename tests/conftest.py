"""Hypothesis profiles: quick by default, thorough and repeatable in CI."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, settings

_SHARED: dict[str, Any] = {
    "deadline": timedelta(seconds=20),
    "print_blob": True,
    "suppress_health_check": [
        HealthCheck.too_slow,
        HealthCheck.filter_too_much,
        HealthCheck.data_too_large,
    ],
}
settings.register_profile("quick", max_examples=100, **_SHARED)
settings.register_profile("ci", max_examples=2000, derandomize=True, **_SHARED)
_default = "ci" if os.environ.get("CI") else "quick"
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", _default))
