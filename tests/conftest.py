"""How tests run: the profiles of Hypothesis, and signals as a terminal has them.

What gates a change draws the same examples each time, so that it fails for what changed and
for nothing else; `make fuzz` draws new ones, and looks for what nobody thought of.
"""

from __future__ import annotations

import os
import signal
from typing import Any

from hypothesis import HealthCheck, settings

# No deadline: a machine that is busy is no defect.
_SHARED: dict[str, Any] = {
    "deadline": None,
    "print_blob": True,
    "suppress_health_check": [
        HealthCheck.too_slow,
        HealthCheck.filter_too_much,
        HealthCheck.data_too_large,
    ],
}
settings.register_profile("quick", max_examples=100, derandomize=True, **_SHARED)
settings.register_profile("ci", max_examples=500, derandomize=True, **_SHARED)
settings.register_profile("fuzz", max_examples=20_000, **_SHARED)
_default = "ci" if os.environ.get("CI") else "quick"
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", _default))

# A job that a shell starts in the background ignores SIGINT, and so does all that it starts.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
