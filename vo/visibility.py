"""Whether there is anything to see in an image.

Learned features of two blank images match; and what a half that is missing has for depth and
features pulls the motion to a halt. Neither can be left to the refinement's own verdict. The upper
half may be a white sky.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

BLOCK_PX = 8
DETAIL = 0.004  # a grey level of 255, in the mean of a block: no noise, no vignette has as much
DETAILED = 0.05  # share of blocks with detail: below it there is nothing to see
FLAT = 2.5 / 255  # spread of each colour in a block: no camera sees less, but a white sky
MISSING = 0.9  # share of half an image that is flat: it is not there


def why_blind(image: Tensor) -> str:
    """Why nothing can be tracked in an image, or an empty string.

    Args:
        image: (1, 3, H, W) in [0, 1].
    """
    blocks = F.avg_pool2d(image.mean(1, keepdim=True), BLOCK_PX)
    detail = (blocks[..., 1:-1, 1:-1] - F.avg_pool2d(blocks, 3, stride=1)).abs() > DETAIL
    if detail.float().mean().item() < DETAILED:
        return "no texture"
    spread = F.max_pool2d(image, BLOCK_PX) + F.max_pool2d(-image, BLOCK_PX)
    flat = (spread.amax(1)[0] < FLAT).float()
    h, w = flat.shape
    for half in (flat[h // 2 :], flat[:, : w // 2], flat[:, w // 2 :]):
        if half.mean().item() > MISSING:
            return "half of the image is missing"
    return ""
