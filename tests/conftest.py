"""Property tests draw the same examples on every machine: a red build is red for everybody."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("same for all", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("same for all")
