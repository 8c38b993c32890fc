"""Depth numbers of published methods, each with where it is from and how far that can be trusted.

A status says how a number came here:

- ``read``: in the README, abstract, leaderboard or issue that is named as the source.
- ``from memory``: of the paper, not read again.
- ``derived``: computed from other published numbers.

What is not known of a row is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from vo.protocol import DepthProtocolName, DepthScaling

Status = Literal["read", "from memory", "derived"]

IMAGES: dict[DepthProtocolName, int] = {
    "kitti-eigen": 697,
    "kitti-eigen-benchmark": 652,
    "cityscapes": 1525,
    "nyu": 654,
    "nyu-crop-first": 654,
    "make3d": 134,
}
"""Images that the published numbers of a protocol are means over."""


@dataclass(frozen=True, slots=True)
class Published:
    """A row of a published table.

    Attributes:
        method: name of it.
        supervision: what it learned from: M video, S stereo pairs, MS both, metric true depth.
        size: of the images, empty where not known.
        numbers: by the names of `vo.depth_scores.METRICS`.
        source: where they stand.
        status: see above.
        note: what a reader has to know.
    """

    method: str
    supervision: str
    size: str
    numbers: Mapping[str, float] = field(compare=False)
    source: str
    status: Status
    note: str = ""


def published(protocol: DepthProtocolName, scaling: DepthScaling) -> tuple[Published, ...]:
    """Rows of a protocol with this scaling; empty where none is known."""
    return _ROWS.get((protocol, scaling), ())


def _first(*values: float) -> dict[str, float]:
    """Numbers in the order of KITTI's tables, as many as are known."""
    names = ("abs_rel", "sq_rel", "rmse", "rmse_log", "a1", "a2", "a3")
    return dict(zip(names, values, strict=False))


_LIST_UNKNOWN = "the list it was trained on is not certain"
_LEAK = "its published training list holds test drives"
_CROP_UNKNOWN = "cropped before or after the network: not known"

_ROWS: dict[tuple[DepthProtocolName, DepthScaling], tuple[Published, ...]] = {
    ("kitti-eigen", "median"): (
        Published(
            "monodepth2 R18", "M", "640x192",
            _first(0.115, 0.903, 4.863, 0.193, 0.877, 0.959, 0.981),
            "README (abs_rel, a1) and paper", "read",
        ),
        Published("monodepth2", "S", "640x192", _first(0.109), "README", "read"),
        Published("monodepth2", "MS", "640x192", _first(0.106), "README", "read"),
        Published("monodepth2", "M", "1024x320", _first(0.115), "README", "read"),
        Published(
            "monodepth2", "M", "640x192", _first(0.132), "README", "read",
            "without ImageNet weights",
        ),
        Published("SC-Depth R18", "M", "832x256", _first(0.119, 0.857, 4.950, 0.197), "README",
                  "read"),
        Published("SC-Depth R50", "M", "832x256", _first(0.114, 0.813, 4.706), "README", "read"),
        Published(
            "Manydepth MR", "M", "640 wide",
            _first(0.098, 0.770, 4.459, 0.176, 0.900, 0.965, 0.983),
            "README of DualRefine", "read", "sees two frames",
        ),
        Published("Manydepth HR", "M", "1024 wide", _first(0.091, 0.694, 4.245),
                  "README of DualRefine", "read", "sees two frames"),
        Published(
            "DualRefine MR", "M", "640x192",
            _first(0.087, 0.698, 4.234, 0.170, 0.914, 0.967, 0.983),
            "README", "read", "sees two frames",
        ),
        Published(
            "DualRefine HR", "M", "960x288",
            _first(0.087, 0.674, 4.130, 0.167, 0.915, 0.969, 0.984),
            "README", "read", "sees two frames",
        ),
        Published("SQLdepth R50", "MS", "640x192", {"abs_rel": 0.088, "rmse": 4.175}, "README",
                  "read", _LIST_UNKNOWN),
        Published("SQLdepth R50", "MS", "1024x320", {"abs_rel": 0.082, "rmse": 3.914}, "README",
                  "read", _LIST_UNKNOWN),
        Published("SQLdepth EffB5", "MS", "1024x320", {"abs_rel": 0.080, "rmse": 3.777}, "README",
                  "read", _LIST_UNKNOWN),
        Published(
            "SPIdepth Huge", "MS", "1024x320",
            _first(0.071, 0.531, 3.662, 0.153, 0.940, 0.973, 0.985), "paper", "from memory", _LEAK,
        ),
        Published("SQLdepth, headline", "", "", _first(0.082), "abstract", "read", _LIST_UNKNOWN),
        Published("TiO-Depth", "", "", _first(0.085), "abstract or README", "read"),
    ),
    ("kitti-eigen-benchmark", "median"): (
        Published(
            "monodepth2", "M", "",
            _first(0.090, 0.545, 3.942, 0.137, 0.914, 0.983, 0.995), "paper", "from memory",
        ),
        Published("monodepth2", "MS", "", _first(0.080, 0.466, 3.681), "paper",
                  "from memory"),
        Published("SQLdepth", "", "", _first(0.052), "abstract", "read", _LIST_UNKNOWN),
        Published("SA4Depth", "", "", _first(0.068), "leaderboard", "read"),
    ),
    ("kitti-eigen-benchmark", "none"): (
        Published("SQLdepth ConvNeXt-L", "metric", "", {"abs_rel": 0.043, "rmse": 1.698}, "README",
                  "read"),
        Published("SPIdepth", "metric", "", _first(0.029, 0.069, 1.394), "abstract", "read"),
    ),
    ("cityscapes", "median"): (
        Published("monodepth2", "", "", _first(0.129), "paper", "from memory"),
        Published("Manydepth", "", "", _first(0.114, 1.193, 6.223), "paper", "from memory",
                  "sees two frames"),
        Published("SQLdepth", "", "", {"abs_rel": 0.106, "rmse": 6.237}, "README", "read"),
        Published(
            "SPIdepth", "", "", _first(0.083, 0.741, 5.208), "abstract", "derived",
            "from what it gains over SQLdepth",
        ),
        Published("SPIdepth, trained by users", "", "", _first(0.132), "issue 23", "read"),
        Published("SA4Depth", "", "416x128", _first(0.102), "leaderboard", "read"),
    ),
    ("nyu", "median"): (
        Published("SC-Depth", "M", "", _first(0.159), "README", "read",
                  "its second network has 0.157"),
        Published("SC-Depth V2", "M", "", _first(0.143), "README", "read",
                  "its second network has 0.142; 0.138 in the paper (from memory)"),
        Published("SC-Depth V3", "M", "", _first(0.123), "paper", "from memory"),
        Published("MonoIndoor", "M", "", _first(0.134), "paper", "from memory", _CROP_UNKNOWN),
        Published("IndoorDepth", "M", "", _first(0.126), "paper", "from memory", _CROP_UNKNOWN),
        Published("GasMono", "M", "", _first(0.113), "paper", "from memory", _CROP_UNKNOWN),
        Published("SA4Depth", "", "", _first(0.119), "leaderboard", "read", _CROP_UNKNOWN),
    ),
    ("nyu-crop-first", "median"): (
        Published("P2Net", "M", "", _first(0.147), "paper", "from memory"),
    ),
    ("make3d", "median"): (
        Published(
            "monodepth2", "M", "",
            {"abs_rel": 0.322, "sq_rel": 3.589, "rmse": 7.417, "log10": 0.163}, "paper",
            "from memory", "its log10 is the root of the mean square",
        ),
    ),
}  # fmt: skip
