"""Dark images, made as bright as what networks learn from.

A tunnel, a shadow or a camera that has just come out of the sun gives images that are darker than
any that were trained on; depth and features of these are wrong, and nothing in them tells. No frame
of the street or of KITTI is darker than `DARK`: those stay as they are, bit for bit. What is cut
off at white cannot be brought back.
"""

from __future__ import annotations

from torch import Tensor

DARK = 0.3  # mean of an image, of 1
MOST_GAIN = 8.0  # beyond it eight bits leave nothing but noise


def brightened(image: Tensor) -> Tensor:
    """The images (B, 3, H, W) in [0, 1], each multiplied until its mean is `DARK` at least."""
    mean = image.mean((1, 2, 3), keepdim=True)
    gain = (DARK / mean.clamp(min=DARK / MOST_GAIN)).clamp(min=1)
    return (gain * image).clamp(max=1)
