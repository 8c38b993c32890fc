"""The choices of an evaluation, by name. Commands list them in --help before numpy is loaded."""

from __future__ import annotations

from typing import Literal

Alignment = Literal["none", "scale", "se3", "sim3", "scale_sim3"]
"""What may be adjusted before errors are measured, see `vo.alignment.align`."""

Match = Literal["strict", "index", "time"]
"""Which poses of two trajectories belong together, see `vo.association.associate`."""
