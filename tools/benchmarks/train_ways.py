"""Ways to train that take turns: ours as it is, and monodepth2's, on the same image files."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from vo.datasets.folder import open_folder
from vo.datasets.frame import Sequence
from vo.datasets.sequence import resize, resize_image
from vo.datasets.triplets import Triplets
from vo.model import Model, with_first_weights
from vo.presets import preset
from vo.tools.benchmarks.measure import Call
from vo.tools.benchmarks.train_baseline import (
    PublishedSamples,
    PublishedTraining,
    Sample,
    published_loader,
)
from vo.training.config import TrainConfig
from vo.training.trainer import Trainer

PUBLISHED = "monodepth2's way"
FILE_SIZE = (1242, 375)  # of KITTI's images
JPEG_QUALITY = 92  # which monodepth2 stores them with

Precision = Literal["fp32", "bf16"]


@dataclass(frozen=True, slots=True)
class Way:
    """What trains, on what.

    Attributes:
        preset: of ours, or `PUBLISHED`.
        precision: of the networks.
        batch: samples a step.
        width: of the images as networks see them.
        height: likewise.
        workers: threads of ours that read, processes of the other way; 0 is the one that trains.
    """

    preset: str
    precision: Precision
    batch: int
    width: int = 640
    height: int = 192
    workers: int = 2

    @property
    def size(self) -> str:
        """Height and width."""
        return f"{self.height}x{self.width}"


def write_images(drive: Sequence, count: int, folder: Path) -> str:
    """Write first frames of a drive as KITTI's images are stored; their intrinsics as a flag."""
    from PIL import Image

    for index in range(min(count, len(drive))):
        image = resize_image(drive[index].image, FILE_SIZE)
        Image.fromarray(image).save(folder / f"{index:06d}.jpg", quality=JPEG_QUALITY)
    camera = drive.camera.resized(*FILE_SIZE)
    return ",".join(f"{value:g}" for value in (camera.fx, camera.fy, camera.cx, camera.cy))


def training_step(way: Way, images: Path, intrinsics: str, folder: Path) -> Call:
    """What takes one step of a way, the loading of its batch included, each time it is called.

    Args:
        way: what trains.
        images: folder of the image files.
        intrinsics: their camera.
        folder: of the training.
    """
    drive = resize(open_folder(images, intrinsics), way.width, way.height)
    if way.preset == PUBLISHED:
        torch.manual_seed(0)
        files = sorted(images.iterdir())
        samples = PublishedSamples(files, drive.camera.K, (way.width, way.height))
        training = PublishedTraining(Model(_config(way).model))
        batches = _without_end(samples, way)
        return lambda: training.step(next(batches))
    steps = trainer_of(way, drive, folder).run()
    return lambda: next(steps)


def trainer_of(way: Way, drive: Sequence, folder: Path) -> Trainer:
    """Our training, which decodes every image each time: KITTI does not fit into its memory.

    Every step refines, where the preset does, as nine of ten steps of a whole training do.
    """
    config = _config(way)
    return Trainer(config, _samples(config, drive), folder)


def _samples(config: TrainConfig, drive: Sequence) -> Triplets:
    data = config.data
    return Triplets([drive], data.batch, memory_gb=data.memory_gb, workers=data.workers)


def _config(way: Way) -> TrainConfig:
    config = preset("monodepth2-r18" if way.preset == PUBLISHED else way.preset)
    model = with_first_weights(config.model, pretrained=False)
    return replace(
        config,
        model=replace(model, width=way.width, height=way.height),
        data=replace(config.data, batch=way.batch, memory_gb=0, workers=max(way.workers, 1)),
        refinement=replace(config.refinement, warmup=0),
        optim=replace(config.optim, precision=way.precision),
        save_every=config.optim.steps,
    )


def _without_end(samples: PublishedSamples, way: Way) -> Iterator[Sample]:
    loader = published_loader(samples, way.batch, way.workers)
    return itertools.chain.from_iterable(itertools.repeat(loader))
