"""The networks as graphs of tensors, which other programs run without this package.

Each graph is a module whose arguments and results are plain tensors with names: images in, depth,
motion as a matrix, features and confidence out. Height and width are fixed, the batch is free.

Of the refinement it is the normal equations that make a graph, one for each level of features: all
the work on pixels and channels. What is left are 6x6 systems and decisions on each item, for which
`vo.refine.optimizer` is written on PyPose, whose Lie tensors cannot be recorded.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from vo.depth.feature_net import FeatureLevel
from vo.model import Model
from vo.refine import RefineConfig
from vo.refine.energy import normal_equations
from vo.refine.points import drawn_pixels, feature_pair, median_depth
from vo.refine.refiner import make_kernel

MAX_BATCH = 1024


Part = Literal["depth", "pose", "features", "energy"]


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """A computation from named tensors to named tensors.

    Attributes:
        name: of the file that it becomes.
        module: in evaluation mode; its arguments have the names of ``inputs``.
        examples: arguments, float32: of two frames like photographs, of one, of three of noise.
        inputs: name -> shape and meaning.
        outputs: name -> shape and meaning, in the order of the results.
    """

    name: str
    module: nn.Module
    examples: tuple[tuple[Tensor, ...], ...]
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The results of PyTorch for a batch, in the order of ``outputs``."""
        with torch.no_grad():
            results = self.module(*inputs)
        return (results,) if isinstance(results, Tensor) else tuple(results)


def graphs_of(
    model: Model, size: tuple[int, int], unit: str, parts: Collection[Part] = get_args(Part)
) -> tuple[Graph, ...]:
    """The graphs of a model: of the normal equations one for each level, coarse to fine.

    Args:
        model: on the CPU.
        size: (width, height) of the images, which the model can take.
        unit: of its lengths, for the descriptions.
        parts: which of them.
    """
    model = model.eval()
    pairs = _example_pairs((size[1], size[0]))
    last = tuple((pair[0],) for pair in pairs)
    words = f"(B, 3, {size[1]}, {size[0]}) RGB in [0, 1]"
    depth = Graph(
        "depth",
        _Depth(model),
        last,
        {"image": words},
        {"depth": f"(B, 1, {size[1]}, {size[0]}) depth along the camera's axis, {unit}"},
    )
    pose = Graph(
        "pose",
        _Pose(model),
        pairs,
        {"last": f"{words}, the earlier frame", "now": f"{words}, the later frame"},
        {"T_last_now": f"(B, 4, 4) p_last = T_last_now p_now, {unit}; not refined"},
    )
    outputs: dict[str, str] = {}
    for stride in model.feature_net.strides:
        outputs[f"features_{stride}"] = f"(B, C, H / {stride}, W / {stride})"
        outputs[f"confidence_{stride}"] = f"(B, 1, H / {stride}, W / {stride}) in (0, 1)"
    features = Graph("features", _Features(model), last, {"image": words}, outputs)
    networks = tuple(graph for graph in (depth, pose, features) if graph.name in parts)
    if "energy" not in parts:
        return networks
    seen = [(*features(now), *features(last), *depth(last)) for last, now in pairs]
    config, strides = model.config.refine, model.feature_net.strides
    energies = (_energy_graph(config, stride, i, seen, unit) for i, stride in enumerate(strides))
    return *networks, *energies


def _example_pairs(size: tuple[int, int]) -> tuple[tuple[Tensor, Tensor], ...]:
    """Two frames in temporal order, of batches of two, one and three."""
    noise = torch.rand(3, 3, *size, generator=torch.Generator().manual_seed(0))
    images = natural_images(2, size, seed=0), natural_images(1, size, seed=1), noise
    return tuple((image, image.roll((1, 3), (2, 3))) for image in images)


def recorded(graph: Graph) -> ExportedProgram:
    """A graph as `torch.export` records it, for batches of 1 to `MAX_BATCH`."""
    batch = Dim("batch", min=1, max=MAX_BATCH)
    program = torch.export.export(
        graph.module,
        graph.examples[0],
        dynamic_shapes={name: {0: batch} for name in graph.inputs},
        strict=False,
    )
    program.example_inputs = None  # as large as the weights of a small network
    for node in program.graph.nodes:  # they name the files of whoever recorded it
        node.meta.pop("stack_trace", None)
    return program


def difference(found: Tensor, wanted: Tensor) -> float:
    """Largest relative difference, NaN where either has one.

    Numbers below 1 or below a hundredth of the largest of their item count as if they were that.
    """
    largest = wanted.abs().flatten(1).amax(1).view(-1, *[1] * (wanted.ndim - 1))
    scale = wanted.abs().maximum(largest / 100).clamp(min=1)
    return ((found - wanted).abs() / scale).max().item()


def _energy_graph(
    config: RefineConfig, stride: int, level: int, seen: list[tuple[Tensor, ...]], unit: str
) -> Graph:
    """The normal equations of one level.

    ``seen``: for each example the pyramids of source and target, and the target's depth.
    """
    examples = []
    for *pyramids, depth in seen:
        count = len(pyramids) // 2
        source, target = (
            p[2 * level : 2 * level + 2] for p in (pyramids[:count], pyramids[count:])
        )
        batch, _, height, width = depth.shape
        K = torch.tensor([[width / 2, 0, width / 2], [0, width / 2, height / 2], [0, 0, 1]])
        median = median_depth(depth, config.min_depth)
        # A motion that puts no point just onto the border, where rounding would decide.
        turn = torch.tensor([[0.004, -0.011, 0.007]]).expand(batch, 3)
        T_s_t = inverse_motion(turn, median[:, None] * torch.tensor([0.003, -0.002, 0.013]))
        K = K.expand(batch, 3, 3).contiguous()
        examples.append((*source, *target, depth, median, K, T_s_t))
    height, width = seen[0][-1].shape[-2:]
    _, C, h, w = examples[0][0].shape
    points = "(B, N) of each point of the target, 0 where it is not seen:"
    return Graph(
        f"energy_{stride}",
        _Energy(config, stride, (h, w)),
        tuple(examples),
        {
            "features_s": f"(B, {C}, {h}, {w}) of the source",
            "confidence_s": f"(B, 1, {h}, {w}) of the source",
            "features_t": f"(B, {C}, {h}, {w}) of the target",
            "confidence_t": f"(B, 1, {h}, {w}) of the target",
            "depth_t": f"(B, 1, {height}, {width}) of the target, {unit}",
            "median_depth_t": "(B,) its median",
            "K": f"(B, 3, 3) intrinsics of the {width}x{height} image, pixel centres at integers",
            "T_s_t": f"(B, 4, 4) p_source = T_s_t p_target, {unit}",
        },
        {
            "hessian": "(B, 6, 6) of half the energy by (translation, rotation), from the left",
            "gradient": "(B, 6) likewise",
            "cost": f"{points} its robust cost",
            "weight": f"{points} its weight; the energy is the sum of weight times cost",
            "motion": "(B, 6, 6) x^T motion x is the mean squared motion in pixels of this level",
        },
    )


class _Depth(nn.Module):
    def __init__(self, model: Model) -> None:
        super().__init__()
        self.net = model.depth_net

    def forward(self, image: Tensor) -> Tensor:
        return self.net(image).depth


class _Pose(nn.Module):
    def __init__(self, model: Model) -> None:
        super().__init__()
        self.net = model.pose_net

    def forward(self, last: Tensor, now: Tensor) -> Tensor:
        motion = self.net(last, now)  # T_now_last
        return inverse_motion(motion.axis_angle, motion.translation)


class _Features(nn.Module):
    def __init__(self, model: Model) -> None:
        super().__init__()
        self.encoder = (
            model.depth_net.encoder if model.feature_net.config.source == "encoder" else None
        )
        self.net = model.feature_net

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        levels = self.net(image, None if self.encoder is None else self.encoder.aligned(image))
        return tuple(part for level in levels for part in (level.features, level.confidence))


class _Energy(nn.Module):
    """The normal equations of one level, `vo.refine.energy`."""

    def __init__(self, config: RefineConfig, stride: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.config, self.stride = config, stride
        # Drawn before anything is recorded, so that the points are numbers and no part of it.
        drawn_pixels(size[0] * size[1], config.num_points, config.seed, torch.device("cpu"))
        self.kernel = make_kernel(config.kernel, config.kernel_scale)

    def forward(
        self,
        features_s: Tensor,
        confidence_s: Tensor,
        features_t: Tensor,
        confidence_t: Tensor,
        depth_t: Tensor,
        median_depth_t: Tensor,
        K: Tensor,
        T_s_t: Tensor,
    ) -> tuple[Tensor, ...]:
        c = self.config
        pair = feature_pair(
            FeatureLevel.of(features_s, confidence_s, self.stride),
            FeatureLevel.of(features_t, confidence_t, self.stride),
            depth_t,
            K,
            num_points=c.num_points,
            seed=c.seed,
            derivative=c.derivative,
            source_confidence=c.source_confidence,
            min_depth=c.min_depth,
            median=median_depth_t,
        )
        found = normal_equations(pair, T_s_t, self.kernel)
        return found.hessian, found.gradient, found.cost, found.weight, found.motion


def rotation_matrix(axis_angle: Tensor) -> Tensor:
    """exp([w]x) by Rodrigues' formula.

    Args:
        axis_angle: (..., 3) in radians, any length; without NaN at 0.

    Returns:
        (..., 3, 3).
    """
    x, y, z = axis_angle.unbind(-1)
    none = torch.zeros_like(x)
    rows = ((none, -z, y), (z, none, -x), (-y, x, none))
    W = torch.stack([torch.stack(row, -1) for row in rows], -2)
    # Below 1e-6 both quotients are 1 to the last digit, in float64 as well.
    angle = axis_angle.square().sum(-1).clamp(min=1e-12).sqrt()[..., None, None]
    half = torch.sin(angle / 2) / (angle / 2)
    identity = torch.eye(3, dtype=W.dtype, device=W.device)
    return identity + torch.sin(angle) / angle * W + half * half / 2 * (W @ W)


def inverse_motion(axis_angle: Tensor, translation: Tensor) -> Tensor:
    """The inverse of the motion with rotation exp([w]x) and translation t, as a matrix.

    It is that of `vo.pose_net.PoseOutput`, with T_second_first given and T_first_second returned.

    Args:
        axis_angle: (B, 3) in radians.
        translation: (B, 3).

    Returns:
        (B, 4, 4).
    """
    R = rotation_matrix(-axis_angle)
    t = -(R * translation[:, None, :]).sum(-1, keepdim=True)
    last_row = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=R.dtype, device=R.device)
    return torch.cat([torch.cat([R, t], 2), last_row.expand(R.shape[0], 1, 4)], 1)


def natural_images(batch: int, size: tuple[int, int], seed: int) -> Tensor:
    """Images with the statistics of photographs: contrast falls with frequency as 1 / f.

    Args:
        batch: number of images B.
        size: (H, W).
        seed: of the noise that they are made of.

    Returns:
        (B, 3, H, W) from 0 to 1 each.
    """
    noise = torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(seed))
    across, along = torch.fft.fftfreq(size[0])[:, None], torch.fft.rfftfreq(size[1])
    frequency = torch.hypot(across, along).clamp(min=1 / max(size))
    x = torch.fft.irfft2(torch.fft.rfft2(noise) / frequency, s=size)
    low, high = x.amin((1, 2, 3), keepdim=True), x.amax((1, 2, 3), keepdim=True)
    return (x - low) / (high - low)
