"""The choices of an evaluation, by name. Commands list them in --help before numpy is loaded."""

from __future__ import annotations

from typing import Literal

Alignment = Literal["none", "scale", "se3", "sim3", "scale_sim3"]
"""What may be adjusted before errors are measured, see `vo.alignment.align`."""

Match = Literal["strict", "index", "time"]
"""Which poses of two trajectories belong together, see `vo.association.associate`."""

DepthCrop = Literal["none", "garg", "eigen", "cityscapes", "nyu"]
"""Part of a true depth that counts, see `vo.depth_scores.crop_of`."""

DepthScaling = Literal["median", "least-squares", "none"]
"""What each predicted depth is scaled by, see `vo.depth_scores.DepthProtocol`."""

DepthDomain = Literal["disparity", "depth"]
"""What of a prediction is interpolated and averaged."""

DepthProtocolName = Literal[
    "kitti-eigen",
    "kitti-eigen-benchmark",
    "cityscapes",
    "nyu",
    "nyu-crop-first",
    "make3d",
    "street",
]
"""How depth is compared with the truth, see `vo.depth_protocols`."""
