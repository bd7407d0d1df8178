"""What the metrics of this process say, for the tests that look at them before and after."""

from __future__ import annotations

from prometheus_client import REGISTRY


def counted(name: str, **labels: str) -> float:
    """The value of `ellara_{name}`; 0 until labels like these are first counted."""
    assert f"ellara_{name}" in REGISTRY._names_to_collectors, "a misspelt one would stay 0 for ever"
    return REGISTRY.get_sample_value(f"ellara_{name}", labels) or 0.0
