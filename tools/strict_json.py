"""Numbers for files that any reader of JSON takes."""

from __future__ import annotations

import math
from typing import Any


def strict(value: Any) -> Any:
    """The same values for strict JSON, which has no NaN and no infinity: null stands for them."""
    if isinstance(value, dict):
        return {key: strict(item) for key, item in value.items()}
    if isinstance(value, list):
        return [strict(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
