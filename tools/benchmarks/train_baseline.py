"""monodepth2's way to train, written from its description: what the training is measured against.

Data: images are decoded and made smaller by Pillow, with Lanczos' filter, at four scales each from
the one before; every other sample is mirrored, and the colours of every other one changed in each
image of each scale; a `DataLoader` makes batches of them.

Step: the layers of our networks, channels first and in float32; one pair of frames after the other
through the pose network; disparity of four scales enlarged to full size, both sources looked up at
each; SSIM by average pooling; the error of the unmoved sources at each scale anew; Adam.

After Godard et al., "Digging Into Self-Supervised Monocular Depth Estimation" (ICCV 2019).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import ColorJitter
from torchvision.transforms import functional as vision

from vo.datasets.camera import Array
from vo.depth.encoder import Encoder
from vo.depth.net import DepthNet
from vo.model import Model
from vo.pose_net import PoseNet

SCALES = 4
OFFSETS = (0, -1, 1)  # the target, the frame before, the frame after
LIGHT, HUE = [0.8, 1.2], [-0.1, 0.1]
Sample = dict[str, Tensor]


class PublishedSamples(Dataset[Sample]):
    """Samples of one drive.

    Args:
        files: its images in order.
        K: (3, 3) intrinsics at the size that they get.
        size: (width, height) of it.
    """

    def __init__(self, files: Sequence[Path], K: Array, size: tuple[int, int]) -> None:
        self.files, self.K, self.size = tuple(files), torch.from_numpy(K).float(), size

    def __len__(self) -> int:
        """Frames that have one before and one after."""
        return len(self.files) - 2

    def __getitem__(self, index: int) -> Sample:
        """``clean0`` to ``clean3`` and ``seen0`` to ``seen3``, (3, 3, H / 2^s, W / 2^s); ``K``."""
        mirrored, changed = torch.rand(2) < 0.5
        change = _Jitter() if changed else lambda image: image
        images = [self._pyramid(index + 1 + offset, bool(mirrored)) for offset in OFFSETS]
        sample = {"K": self.K}
        for scale in range(SCALES):
            frames = [pyramid[scale] for pyramid in images]
            sample[f"clean{scale}"] = torch.stack([vision.to_tensor(x) for x in frames])
            sample[f"seen{scale}"] = torch.stack([vision.to_tensor(change(x)) for x in frames])
        return sample

    def _pyramid(self, index: int, mirrored: bool) -> list[Image.Image]:
        with self.files[index].open("rb") as file:
            image = Image.open(file).convert("RGB")
        if mirrored:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        width, height = self.size
        pyramid: list[Image.Image] = []
        for scale in range(SCALES):
            size = width >> scale, height >> scale
            image = image.resize(size, Image.Resampling.LANCZOS)
            pyramid.append(image)
        return pyramid


class _Jitter:
    """torchvision's change of colours with one draw for all images of a sample."""

    def __init__(self) -> None:
        self.order, *factors = ColorJitter.get_params(LIGHT, LIGHT, LIGHT, HUE)
        changes = (
            vision.adjust_brightness, vision.adjust_contrast, vision.adjust_saturation,
            vision.adjust_hue,
        )  # fmt: skip
        self.changes = list(zip(changes, factors, strict=True))

    def __call__(self, image: Image.Image) -> Image.Image:
        for number in self.order:
            change, factor = self.changes[number]
            assert factor is not None
            image = change(image, factor)  # pyright: ignore[reportAssignmentType, reportArgumentType]
        return image


def published_loader(samples: PublishedSamples, batch: int, workers: int) -> DataLoader[Sample]:
    """Its batches, made by so many processes; 0 is this one."""
    # Forked processes would keep this one's memory, the networks of all other ways, for themselves.
    context = "spawn" if workers else None
    return DataLoader(
        samples, batch, shuffle=True, num_workers=workers, drop_last=True,
        persistent_workers=workers > 0, multiprocessing_context=context,
    )  # fmt: skip


class PublishedTraining:
    """Networks, losses and Adam.

    Args:
        model: whose layers are trained, with a depth network of disparities.
        smooth: weight of the smoothness.
    """

    def __init__(self, model: Model, smooth: float = 1e-3) -> None:
        self.model, self.smooth = model.train(), smooth
        nets = (model.depth_net, model.pose_net)
        self.optimizer = torch.optim.Adam([p for net in nets for p in net.parameters()], lr=1e-4)

    def step(self, sample: Sample) -> float:
        """Learn from a batch; its loss."""
        loss = self.loss(sample)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def loss(self, sample: Sample, noise: float = 1e-5) -> Tensor:
        """Loss () of a batch, with noise of that size on the error of unmoved sources."""
        depth_net, pose_net = self.model.depth_net, self.model.pose_net
        assert isinstance(depth_net, DepthNet)
        assert isinstance(pose_net, PoseNet)
        seen = sample["seen0"]
        disparities = published_disparities(depth_net, seen[:, 0])
        poses = [_pose(pose_net, seen, offset) for offset in (1, 2)]
        target, sources = sample["clean0"][:, 0], sample["clean0"][:, 1:].unbind(1)
        bounds = depth_net.config.min_depth, depth_net.config.max_depth
        total = target.new_zeros(())
        for scale, disparity in enumerate(disparities):
            enlarged = F.interpolate(disparity, target.shape[-2:], mode="bilinear")
            depth = 1 / (1 / bounds[1] + (1 / bounds[0] - 1 / bounds[1]) * enlarged)
            moved = [
                _error(_look_up(source, depth, sample["K"], T_s_t), target)
                for source, T_s_t in zip(sources, poses, strict=True)
            ]
            still = torch.cat([_error(source, target) for source in sources], 1)
            still = still + noise * torch.randn(still.shape)
            least = torch.cat([still, *moved], 1).min(1).values.mean()
            small = sample[f"clean{scale}"][:, 0]
            total = total + least + self.smooth / 2**scale * _smoothness(disparity, small)
        return total / len(disparities)


def published_disparities(net: DepthNet, image: Tensor) -> list[Tensor]:
    """Disparities, finest first, by the layers of a network one after the other."""
    features = _encoded(net.encoder, image)
    decoder, x = net.decoder, features[-1]
    found: list[Tensor] = []
    for level in reversed(range(len(decoder.narrow))):
        x = F.interpolate(F.elu(_convolved(decoder.narrow[level], x)), scale_factor=2)
        x = torch.cat([x, features[level - 1]], 1) if level > 0 else x
        x = F.elu(_convolved(decoder.fuse[level], x))
        if level < len(decoder.heads):
            found.insert(0, torch.sigmoid(_convolved(decoder.heads[level], x)))
    return found


def _encoded(encoder: Encoder, image: Tensor) -> list[Tensor]:
    features = encoder.backbone((image - encoder.mean) / encoder.std)
    assert isinstance(features, list)
    return features


def _convolved(layer: nn.Module, x: Tensor) -> Tensor:
    assert isinstance(layer, nn.Conv2d)
    return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), layer.weight, layer.bias)


def _pose(net: PoseNet, seen: Tensor, source: int) -> Tensor:
    """T_s_t (B, 4, 4) of a source, number 1 being the earlier one; the earlier frame goes first."""
    pair = (seen[:, 1], seen[:, 0]) if source == 1 else (seen[:, 0], seen[:, 2])
    deepest = _encoded(net.encoder, torch.cat(pair, 1))[-1]
    motion = net.decoder(deepest).mean((2, 3))
    axis_angle = net.config.rotation_scale * motion[:, :3]
    translation = net.config.translation_scale * motion[:, 3:6]
    angle = axis_angle.norm(dim=1, keepdim=True)
    x, y, z = (axis_angle / (angle + 1e-7)).unbind(1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], 1).view(-1, 3, 3)
    angle = angle[:, :, None]
    rotation = torch.eye(3) + angle.sin() * cross + (1 - angle.cos()) * (cross @ cross)
    shift = translation[:, :, None]
    if source == 1:
        rotation = rotation.transpose(1, 2)
        shift = -rotation @ shift
    last = shift.new_tensor([0, 0, 0, 1]).expand(len(shift), 1, 4)
    return torch.cat([torch.cat([rotation, shift], 2), last], 1)


def _look_up(source: Tensor, depth: Tensor, K: Tensor, T_s_t: Tensor) -> Tensor:
    """Source (B, 3, H, W) seen from the target, by homogeneous coordinates."""
    B, _, H, W = source.shape
    v, u = torch.meshgrid(torch.arange(H), torch.arange(W), indexing="ij")
    pixels = torch.stack([u, v, torch.ones_like(u)]).float().view(1, 3, -1)
    points = depth.view(B, 1, -1) * (K.inverse() @ pixels)
    points = torch.cat([points, torch.ones(B, 1, H * W)], 1)
    seen = (K @ T_s_t[:, :3]) @ points
    at = seen[:, :2] / (seen[:, 2:] + 1e-7)
    grid = at.view(B, 2, H, W).permute(0, 2, 3, 1) / torch.tensor([W - 1, H - 1])
    grid = (grid - 0.5) * 2
    return F.grid_sample(source, grid, padding_mode="border", align_corners=True)


def _error(a: Tensor, b: Tensor) -> Tensor:
    """(B, 1, H, W)."""
    return 0.85 * _ssim(a, b).mean(1, True) + 0.15 * (a - b).abs().mean(1, True)


def _ssim(a: Tensor, b: Tensor) -> Tensor:
    a, b = (F.pad(x, (1, 1, 1, 1), mode="reflect") for x in (a, b))
    mean_a, mean_b = F.avg_pool2d(a, 3, 1), F.avg_pool2d(b, 3, 1)
    variance_a = F.avg_pool2d(a**2, 3, 1) - mean_a**2
    variance_b = F.avg_pool2d(b**2, 3, 1) - mean_b**2
    covariance = F.avg_pool2d(a * b, 3, 1) - mean_a * mean_b
    similar = (2 * mean_a * mean_b + 0.01**2) * (2 * covariance + 0.03**2)
    scale = (mean_a**2 + mean_b**2 + 0.01**2) * (variance_a + variance_b + 0.03**2)
    return ((1 - similar / scale) / 2).clamp(0, 1)


def _smoothness(disparity: Tensor, image: Tensor) -> Tensor:
    values = disparity / (disparity.mean((2, 3), keepdim=True) + 1e-7)
    total = disparity.new_zeros(())
    for axis in (2, 3):
        edge = image.diff(dim=axis).abs().mean(1, True)
        total = total + (values.diff(dim=axis).abs() * torch.exp(-edge)).mean()
    return total
