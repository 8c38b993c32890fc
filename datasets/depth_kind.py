"""Which true depth a prediction is compared with, by name, for commands' --help."""

from __future__ import annotations

from typing import Literal

DepthKind = Literal["velodyne-x", "velodyne-z", "improved", "own"]
"""Source of true depth.

- ``velodyne-x``: the scan of KITTI raw, with the distance ahead of the laser scanner as depth: the
  ground truth of the published Eigen tables. The scanner stands about 0.27 m behind the camera, so
  that this depth is by so much too large; scaling by the median takes up part of it.
- ``velodyne-z``: the same scan with depth along the optical axis of the camera.
- ``improved``: the annotated depth maps of KITTI (Uhrig et al., 3DV 2017).
- ``own``: what the data itself brings: the street, TUM RGB-D, 7-Scenes.
"""
