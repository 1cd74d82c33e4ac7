"""How much hypothesis tries: the same few examples in each normal run, many new ones under `nox -s fuzz`.

`TRIO_PIPES_EXAMPLES=20` makes twenty times as many of them, from a new seed (or that of `--hypothesis-seed`).
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings

TIMES = int(os.environ.get("TRIO_PIPES_EXAMPLES", "1"))

# For tests with settings of their own too: what is red on one machine is red on each.
settings.register_profile("trio_pipes", derandomize=TIMES == 1, deadline=None)
settings.load_profile("trio_pipes")


def examples(count: int) -> settings:
    """The settings of a test that tries `count` examples in a normal run."""
    return settings(
        max_examples=count * TIMES,
        derandomize=TIMES == 1,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[phase for phase in Phase if phase is not Phase.explain],
    )
