"""The procedural street: worlds, drives through them, and exact truth for every frame.

It is the embedded default: eleven sequences 00-10 of different worlds, rendered on the user's own
machine into KITTI Odometry's layout.
"""

from vo.datasets.street.dataset import (
    DEFAULT_SIZE,
    STREET_SEQUENCES,
    cache_folder,
    default_frames,
    render_street,
    street_root,
)

__all__ = [
    "DEFAULT_SIZE",
    "STREET_SEQUENCES",
    "cache_folder",
    "default_frames",
    "render_street",
    "street_root",
]
