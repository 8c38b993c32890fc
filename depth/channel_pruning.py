"""Fewer channels for a level of a trained disparity decoder, without training again.

A channel goes where the next convolution can do without it: its inputs are collected over images,
the channels whose loss costs least are removed one after the other, and the weights of the others
are fitted anew by least squares to what the layer gave before (He et al., Channel pruning for
accelerating very deep neural networks, ICCV 2017, with backward elimination in place of the lasso).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vo.datasets.errors import InputError
from vo.depth.disparity_decoder import DisparityDecoder

_TAPS = 9  # of a 3x3 convolution
_RIDGE = 1e-6  # of the normal matrix's diagonal


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """A convolution that does with fewer inputs.

    Attributes:
        channels: the inputs that are kept, ascending.
        weight: (O, C', 3, 3) float32 of the kept inputs and of those that were not to choose from.
        bias: (O,) float32.
        error: mean square of what it misses over the variance of the outputs.
    """

    channels: list[int]
    weight: Tensor
    bias: Tensor
    error: float


def prune_level(
    decoder: DisparityDecoder, features: Sequence[Tensor], level: int, channels: int
) -> tuple[dict[str, Tensor], tuple[float, float]]:
    """Weights of the same decoder with fewer channels at one level.

    Args:
        decoder: the trained one, which stays as it is.
        features: the encoder's, of many images, as `DisparityDecoder.forward` takes them.
        level: one that has no disparity of its own.
        channels: that the level keeps.

    Returns:
        the state of a decoder that is built with these channels; and `Fit.error` of the level's
        second convolution and of the next level's first.

    Raises:
        InputError: when the level does not exist, has a disparity of its own, or has no more
            channels than that.
    """
    _check(decoder, level, channels)
    with torch.inference_mode():
        inside, *skip = decoder.fusion_inputs(features, level)
        joined = torch.cat([inside, *skip], 1)
        first, second = decoder.fuse[level], decoder.narrow[level - 1]
        a = _fitted(joined, first(joined), inside.shape[1], channels)
        x = torch.cat([inside[:, a.channels], *skip], 1)
        after = F.elu(_convolved(x, a))
        before = F.elu(first(joined))
        b = _fitted(after, second(before), after.shape[1], channels)
    state = dict(decoder.state_dict())
    narrow, fuse, following = f"narrow.{level}", f"fuse.{level}", f"narrow.{level - 1}"
    state |= {
        f"{narrow}.weight": state[f"{narrow}.weight"][a.channels],
        f"{narrow}.bias": state[f"{narrow}.bias"][a.channels],
        f"{fuse}.weight": a.weight[b.channels],
        f"{fuse}.bias": a.bias[b.channels],
        f"{following}.weight": b.weight,
        f"{following}.bias": b.bias,
    }
    return state, (a.error, b.error)


def _check(decoder: DisparityDecoder, level: int, channels: int) -> None:
    first, last = len(decoder.heads), len(decoder.narrow) - 1
    if not first <= level <= last:
        problem = f"is {level}"
        raise InputError("--level", problem, f"levels {first} to {last} have no disparity")
    width = decoder.get_parameter(f"narrow.{level}.weight").shape[0]
    if not 0 < channels < width:
        raise InputError("--channels", f"is {channels}", f"give 1 to {width - 1}")


def _fitted(x: Tensor, y: Tensor, candidates: int, keep: int) -> Fit:
    """A 3x3 convolution of fewer channels of x (B, C, H, W), the first ``candidates`` to choose
    from, that gives y (B, O, H, W) as well as can be."""
    G, R, square, variance = _normal_equations(x, y)
    always = list(range(candidates, x.shape[1]))
    alive = list(range(candidates))
    while len(alive) > keep:
        rows = _rows(alive + always, x.shape[1])
        inverse = torch.linalg.inv(G[rows][:, rows])
        w = inverse @ R[rows]
        costs = torch.stack([_cost(inverse, w, place) for place in range(len(alive))])
        del alive[int(costs.argmin())]  # one at a time: of two that say the same, one must stay
    rows = _rows(alive + always, x.shape[1])
    w = torch.linalg.solve(G[rows][:, rows], R[rows])
    weight = w[:-1].T.reshape(y.shape[1], -1, 3, 3).float().contiguous()
    error = ((square - (w * R[rows]).sum()) / variance).item()
    return Fit(alive, weight, w[-1].float(), error)


def _normal_equations(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """X'X, X'y, the squares of y and its variance, all means over pixels, in float64; the last row
    of X'X is the bias's."""
    targets = y.permute(0, 2, 3, 1).reshape(-1, y.shape[1]).double()
    columns = x.shape[1] * _TAPS + 1
    G = torch.zeros(columns, columns, dtype=torch.float64)
    R = torch.zeros(columns, y.shape[1], dtype=torch.float64)
    for image, part in zip(x, targets.chunk(len(x)), strict=True):  # all at once needs gigabytes
        patches = F.unfold(_padded(image[None]), 3)[0].T.double()
        rows = torch.cat([patches, patches.new_ones(len(patches), 1)], 1)
        G += rows.T @ rows / len(targets)
        R += rows.T @ part / len(targets)
    G += _RIDGE * torch.diag(G.diagonal().clamp(min=1e-8))
    variance = (targets - targets.mean(0)).square().mean(0).sum()
    return G, R, targets.square().mean(0).sum(), variance


def _cost(inverse: Tensor, w: Tensor, place: int) -> Tensor:
    """What the square error grows by when a channel goes and the others are fitted anew."""
    block = slice(place * _TAPS, (place + 1) * _TAPS)
    return (w[block] * torch.linalg.solve(inverse[block, block], w[block])).sum()


def _rows(channels: list[int], of: int) -> list[int]:
    """Rows of the normal equations that belong to these channels, and the bias's."""
    return [channel * _TAPS + tap for channel in channels for tap in range(_TAPS)] + [of * _TAPS]


def _convolved(x: Tensor, fit: Fit) -> Tensor:
    return F.conv2d(_padded(x), fit.weight, fit.bias)


def _padded(x: Tensor) -> Tensor:
    return F.pad(x, (1, 1, 1, 1), mode="reflect")
