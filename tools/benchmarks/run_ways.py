"""Ways to run a drive: as monodepth2's published programs do, and ours.

The networks are those of the preset `sa4depth` with random weights, which cost as much as learned
ones. But how long a refinement goes on depends on what it is given. So each network computes, and
then answers what the shipped checkpoint said of the same image; the features are the shipped ones
themselves, whose layers are the same.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from vo.atomic import write_atomically
from vo.checkpoint import load_checkpoint
from vo.datasets import open_sequence
from vo.datasets.frame import Frame, Sequence
from vo.depth.net import Depth, DepthNet, disparity_to_depth
from vo.drive import Drive, run, run_ahead
from vo.model import Model, with_first_weights
from vo.odometry import FirstGuess, Odometry
from vo.pose_net import PoseNet, PoseOutput
from vo.precision import Precision
from vo.presets import preset
from vo.refine.energy import Backend
from vo.tools.running.flags import RunFlags
from vo.tools.running.record import Record, kitti_line, new_folder

SHIPPED = "street.safetensors"


@dataclass(frozen=True, slots=True, eq=False)
class Images:
    """Frames on disk: what both ways read.

    Attributes:
        folder: of PNG files.
        sequence: the same, opened; without any truth.
        size: (width, height) that networks see.
    """

    folder: Path
    sequence: Sequence
    size: tuple[int, int]

    @property
    def files(self) -> list[Path]:
        """One for each frame, in order."""
        return sorted(self.folder.glob("*.png"))


@dataclass(frozen=True, slots=True)
class Way:
    """One of ours.

    Attributes:
        precision: of the networks.
        ahead: whether threads look at frames ahead.
        first_guess: where the refinement starts.
        backend: of the refinement.
    """

    precision: Precision
    ahead: bool
    first_guess: FirstGuess
    backend: Backend = "eager"


def save_images(frames: Sequence, folder: Path, size: tuple[int, int]) -> Images:
    """The images of a drive as PNG files at their own size."""
    for i in range(len(frames)):
        Image.fromarray(frames[i].image).save(folder / f"{i:06d}.png")
    camera = frames.camera
    text = ",".join(str(v) for v in (camera.fx, camera.fy, camera.cx, camera.cy))
    return Images(folder, open_sequence(folder, None, intrinsics=text), size)


def build_model(images: Images) -> tuple[Model, Model]:
    """The networks as they are, and with the answers of the shipped ones; see above."""
    shipped = load_checkpoint(SHIPPED, "cpu").model
    config = with_first_weights(preset("sa4depth").model, pretrained=False)
    torch.manual_seed(0)
    plain = Model(replace(config, width=images.size[0], height=images.size[1])).eval()
    plain.feature_net.load_state_dict(shipped.feature_net.state_dict())
    odometry = Odometry(shipped, shipped.config.refine, images.size)
    depths: dict[bytes, Tensor] = {}
    poses: dict[bytes, PoseOutput] = {}
    last = None
    with torch.inference_mode():
        for i in range(len(images.sequence)):
            seen = odometry.see(images.sequence[i])
            depths[_mark(seen.image)] = seen.depth
            if last is not None:
                poses[_mark(seen.image)] = odometry.model.pose_net(last.image, seen.image)
            last = seen
    answering = Model(plain.config).eval()
    answering.feature_net = plain.feature_net
    answering.depth_net = _AnsweringDepth(plain.depth_net, depths)  # type: ignore[assignment]
    answering.pose_net = _AnsweringPose(plain.pose_net, poses)  # type: ignore[assignment]
    return plain, answering


def plain_run(model: Model, images: Images) -> None:
    """Monodepth2's way: for each frame decode, resize, depth network, pose network on the pair,
    one after the other, channels first in float32; poses are written at the end."""
    poses, last = [np.eye(4)], None
    with torch.no_grad():
        for file in images.files:
            picture = Image.open(file).convert("RGB").resize(images.size, Image.Resampling.LANCZOS)
            now = torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()[None] / 255
            _plain_depth(model.depth_net, now)
            if last is not None:
                poses.append(poses[-1] @ _plain_pose(model.pose_net, last, now))
            last = now
    with tempfile.TemporaryDirectory() as folder:
        write_atomically(Path(folder) / "poses.txt", "\n".join(map(kitti_line, poses)) + "\n")


def our_run(odometry: Odometry, images: Images, ahead: bool) -> Drive:
    """The loop of ``vo-run``: every frame's estimate measured, and its lines written."""
    results = run_ahead(odometry, images.sequence) if ahead else run(odometry, _read(images))
    drive = Drive()
    kinds = RunFlags(first_guess=odometry.first_guess).kinds()
    with tempfile.TemporaryDirectory() as folder:
        out, log = new_folder(Path(folder) / "run", "run")
        with Record(out, kinds, log) as record:
            for frame, estimate in results:
                row = drive.add(frame, estimate)
                record.add(row, estimate, None)
    return drive


def our_odometry(model: Model, images: Images, way: Way) -> Odometry:
    """An odometry for a way."""
    refine = replace(model.config.refine, backend=way.backend)
    return Odometry(model, refine, images.size, "cpu", way.precision, way.first_guess)


class Repeated:
    """A drive of any length, which goes to and fro over a few images.

    Args:
        frames: the few.
        length: how many there shall be.
    """

    def __init__(self, frames: Sequence, length: int) -> None:
        self.frames, self.length = frames, length
        n = len(frames)
        self._order = [*range(n), *range(n - 2, 0, -1)]

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Frame:
        frame = self.frames[self._order[index % len(self._order)]]
        return replace(frame, index=index, time_s=0.1 * index)


def _read(images: Images) -> Iterator[Frame]:
    return (images.sequence[i] for i in range(len(images.sequence)))


def _plain_depth(net: nn.Module, image: Tensor) -> Tensor:
    assert isinstance(net, DepthNet)
    encoder = net.encoder
    disparity = net.decoder(encoder.backbone((image - encoder.mean) / encoder.std))[0]
    return disparity_to_depth(disparity, net.config.min_depth, net.config.max_depth)


def _plain_pose(net: nn.Module, last: Tensor, now: Tensor) -> np.ndarray:
    assert isinstance(net, PoseNet)
    encoder = net.encoder
    pair = (torch.cat([last, now], 1) - encoder.mean) / encoder.std
    motion = net.decoder(encoder.backbone(pair)[-1]).mean((2, 3))
    c = net.config
    turn, shift = c.rotation_scale * motion[:, :3], c.translation_scale * motion[:, 3:6]
    return PoseOutput(turn, shift).inverse().se3().matrix()[0].numpy()


def _mark(image: Tensor) -> bytes:
    """What an image is known again by: a few of its pixels."""
    few = image[0, :, 5::31, 3::47].reshape(-1)
    return (few * 255).round().to(torch.uint8).numpy().tobytes()


class _AnsweringDepth(nn.Module):
    def __init__(self, net: nn.Module, answers: dict[bytes, Tensor]) -> None:
        super().__init__()
        self.net, self.answers = net, answers

    def forward(self, image: Tensor) -> Depth:
        computed = self.net(image)
        return replace(computed, depth=self.answers.get(_mark(image), computed.depth))


class _AnsweringPose(nn.Module):
    def __init__(self, net: nn.Module, answers: dict[bytes, PoseOutput]) -> None:
        super().__init__()
        self.net, self.answers = net, answers

    def forward(self, first: Tensor, second: Tensor) -> PoseOutput:
        computed: PoseOutput = self.net(first, second)
        return self.answers.get(_mark(second), computed)
