"""The bounds within which a number of 64 bits can be rounded to a float32."""

from __future__ import annotations

from typing import Final

__all__ = ("GREATEST", "INFINITE_FROM", "ZERO_UP_TO")

GREATEST: Final = (2 - 2**-23) * 2.0**127
"""The greatest number of float32."""
INFINITE_FROM: Final = (2 - 2**-24) * 2.0**127
"""Numbers from halfway above the greatest float32 on are rounded to infinity."""
ZERO_UP_TO: Final = 2.0**-150
"""Numbers up to half of the least float32 are rounded to zero."""
