"""A depth network beside the truth: predict each image, compare, and sum up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from vo.datasets.camera import Array
from vo.datasets.errors import InputError
from vo.datasets.sequence import prefetch, resize_image
from vo.datasets.split_list import ListedFrame
from vo.datasets.stills import DepthFrames
from vo.depth_scores import DepthProtocol, DepthScores, blend_flipped, crop_of, score_depth
from vo.model import Model
from vo.protocol import DepthDomain

Predict = Callable[[Array], Array]
"""An image (H, W, 3) uint8 RGB to its depth (h, w), positive."""


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """One image, its depth, and how far that is from the truth.

    Attributes:
        frame: which image.
        image: (H, W, 3) uint8 RGB, the part that the network saw.
        depth: (h, w) float32 as predicted.
        truth: (H', W') float32 metres, the part that was compared, 0 where unknown.
        scores: its errors.
    """

    frame: ListedFrame
    image: Array
    depth: Array
    truth: Array
    scores: DepthScores


class DepthPredictor:
    """The depth network of a model, on single images of any size.

    Args:
        model: moved to the device and put in evaluation mode.
        device: to compute on.
        flip: what is averaged with the prediction for the mirrored image (`blend_flipped`); None
            predicts once.
    """

    def __init__(self, model: Model, device: str = "cpu", flip: DepthDomain | None = None) -> None:
        self.model, self.device = model.to(device).eval(), device
        self.flip: DepthDomain | None = flip
        self.size = (model.config.width, model.config.height)

    @torch.inference_mode()
    def __call__(self, image: Array) -> Array:
        """Depth (h, w) float32 of an image (H, W, 3) uint8 RGB, at the model's size."""
        small = np.ascontiguousarray(resize_image(image, self.size))
        x = torch.from_numpy(small).to(self.device).permute(2, 0, 1)[None].float() / 255
        if self.flip is None:
            return self.model.depth_net(x).depth[0, 0].cpu().numpy()
        both = self.model.depth_net(torch.cat([x, x.flip(-1)])).depth[:, 0].cpu().numpy()
        return blend_flipped(both[0], both[1], self.flip)


def compare(predict: Predict, frames: DepthFrames, protocol: DepthProtocol) -> Iterator[Comparison]:
    """Predict and score every frame of a drive or collection, reading ahead.

    Raises:
        InputError: when a file is damaged, when images or truth have not the size that the
            protocol is made for, and when a prediction is not positive and finite.
    """
    for listed, frame in zip(frames.frames, prefetch(frames), strict=True):
        where = f"frame {listed.number} of {frames.name}"
        image, truth = frame.image, frame.depth
        if truth is None:
            raise ValueError(f"{where} has no true depth")
        try:
            image = image if protocol.image_box is None else protocol.image_box.cut(image)
            truth = truth if protocol.truth_box is None else protocol.truth_box.cut(truth)
            crop_of(protocol.crop, *truth.shape)
        except ValueError as error:
            problem = f"{protocol.name} does not fit {where}: {error}"
            raise InputError("--protocol", problem, "choose the protocol of these data") from error
        depth = predict(image)
        if not (np.isfinite(depth).all() and (depth > 0).all()):
            problem = "its predicted depth is not positive and finite"
            raise InputError(where, problem, "choose another checkpoint")
        yield Comparison(listed, image, depth, truth, score_depth(depth, truth, protocol))
