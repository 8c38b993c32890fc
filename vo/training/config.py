"""All settings of a training, as one tree of frozen dataclasses."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from vo.datasets.annotated_batches import AnnotatedAugment
from vo.datasets.augmentation import AugmentConfig
from vo.datasets.errors import InputError
from vo.model import ModelConfig
from vo.precision import Precision
from vo.protocol import DepthCrop
from vo.refine import RefineConfig


@dataclass(frozen=True, slots=True)
class DataConfig:
    """What is learned from.

    Attributes:
        batch: samples a step, over all processes of torchrun and all parts of ``accumulate``.
        gaps: distances between the frames of a sample, drawn evenly.
        mirror: whether every other sample is mirrored.
        stereo: whether the other camera of a stereo pair is one more source, at its known pose;
            it makes depth and poses metric.
        augment: other light and another camera, for the networks' eyes only.
        memory_gb: decoded frames are kept in memory up to this size, by each process.
        workers: threads that read frames, of each process.
    """

    batch: int = 12
    gaps: tuple[int, ...] = (1,)
    mirror: bool = True
    stereo: bool = False
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    memory_gb: float = 4.0
    workers: int = 2


@dataclass(frozen=True, slots=True)
class LossConfig:
    """The self-supervised losses (Godard et al., ICCV 2019; SA4Depth).

    Attributes:
        ssim_window: side of the SSIM window: 3 in monodepth2, 7 in SQLdepth and SPIdepth.
        ssim_share: weight of SSIM in the photometric error, the rest is L1.
        scales: scales of disparity that are judged, from the finest on.
        auto_mask: leave out pixels that an unwarped source explains as well.
        mask_outside: leave out source pixels outside of the source image, which else repeat its
            border, as published.
        smoothness: weight of edge-aware smoothness, halved with each scale.
        smooth_on: what is to be smooth: disparity (monodepth2) or depth (SQLdepth, SPIdepth).
        raw: weight of the photometric error at the pose network's own pose, beside the refined.
        raw_stride: of the images of that error, whose pixels are means of so many by so many: a
            pose needs no finer ones, and what is off by more pixels is pulled as well.
        distillation: weight of the distance from the pose network's pose to the refined one, in
            steps: a rotation counts as far as it moves what lies at the median depth.
        coarse: weight of that distance from the poses after the coarser levels of the refinement to
            the refined one, each at most a step: nothing else teaches the features of those levels.
    """

    ssim_window: int = 3
    ssim_share: float = 0.85
    scales: int = 4
    auto_mask: bool = True
    mask_outside: bool = False
    smoothness: float = 1e-3
    smooth_on: Literal["disparity", "depth"] = "disparity"
    raw: float = 0.2
    raw_stride: Literal[1, 2, 4, 8] = 2
    distillation: float = 0.1
    coarse: float = 0.03


@dataclass(frozen=True, slots=True)
class RefineTraining:
    """The refinement inside training.

    Attributes:
        enabled: off gives plain monodepth2.
        warmup: steps without it at the start, after the bootstrap: wrong depth leads it astray.
        gradient_to_depth: whether the loss at the refined pose reaches the depth through the pose.
        gradient_to_features: whether it reaches the features; without it they stay as they are.
        gradient_to_pose: whether it reaches the pose network through the refinement.
        settings: of the optimizer.
    """

    enabled: bool = True
    warmup: int = 2000
    gradient_to_depth: bool = True
    gradient_to_features: bool = True
    gradient_to_pose: bool = True
    settings: RefineConfig = field(
        default_factory=lambda: RefineConfig(iterations=(3, 3, 3), backward="one_step")
    )


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """A start with true depth and poses, where data have them (the street has).

    Attributes:
        steps: how many; 0 is a training from video alone.
        depth: weight of the error of log depth.
        beyond: weight of depth that is nearer than `vo.training.supervision.FARTHEST` where truth
            is farther or has none. Only for dense truth, as the street's, where the sky alone has
            none; with LiDAR most pixels have none.
        pose: weight of the pose network's error.
        refined: weight of the error after refinement, with true depth, from disturbed true poses:
            it teaches the features.
        refined_every: steps from one that refines to the next, which spares time.
        start_translation: disturbance of the start, standard deviation in metres.
        start_rotation_deg: and in degrees.
    """

    steps: int = 0
    depth: float = 1.0
    beyond: float = 0.0
    pose: float = 1.0
    refined: float = 1.0
    refined_every: int = 4
    start_translation: float = 0.3
    start_rotation_deg: float = 0.5


@dataclass(frozen=True, slots=True)
class MetricConfig:
    """Learning metric depth from sparse truth, which only the depth network takes part in.

    Attributes:
        enabled: whether this is what is learned from, and not video.
        min_depth: in metres; smaller true depths do not count.
        max_depth: in metres; larger ones do not either.
        scale_share: weight of the squared mean of log errors beside their variance.
        crop: part of image and depth that is seen: the 1216 x 352 pixels at the bottom of KITTI's
            images, or all.
        score_crop: part of the true depth that counts in validation.
        augment: other light and a small turn.

    Raises:
        InputError: when depths or weights make no sense.
    """

    enabled: bool = False
    min_depth: float = 1e-3
    max_depth: float = 80.0
    scale_share: float = 0.15
    crop: Literal["kitti", "none"] = "kitti"
    score_crop: DepthCrop = "garg"
    augment: AnnotatedAugment = field(default_factory=AnnotatedAugment)

    def __post_init__(self) -> None:
        """Refuse an empty range of depth, and weights that no variance has."""
        if not 0 < self.min_depth < self.max_depth < float("inf"):
            problem = f"is {self.max_depth:g} with --metric.min-depth {self.min_depth:g}"
            raise InputError("--metric.max-depth", problem, "give 0 < min-depth < max-depth")
        if not 0 <= self.scale_share <= 1:
            problem = f"is {self.scale_share:g}"
            raise InputError("--metric.scale-share", problem, "give a number from 0 to 1")


@dataclass(frozen=True, slots=True)
class OptimConfig:
    """How the loss is minimised.

    The same batch gives the same losses and gradients however many processes and parts it is taken
    in, up to the order of sums, but for what looks at all of a batch at once: the statistics of
    batch normalisation (see ``batch_norm``), dropout, the mean over refinements that succeeded and
    the median depth in the distances of poses, the mean over pixels with ``loss.mask_outside``, and
    the variance in the loss of metric depth. These are those of each part.

    Attributes:
        steps: of the whole training, bootstrap included.
        lr: learning rate of AdamW.
        bootstrap_lr: during the bootstrap.
        schedule: ``cosine`` down to a twentieth, ``step``, a tenth after ``drop``, or
            ``onecycle``, up from a tenth and down to a thousandth (`vo.training.schedule`).
        drop: share of the steps after which the rate drops in the schedule ``step``.
        encoder_lr: factor of the rate for the backbone of the depth network.
        pose_lr: factor of the rate for the pose network.
        rise: steps in which the rate rises from 0 at the start of each phase, but in the schedule
            ``onecycle``, which has a rise of its own.
        weight_decay: of weights with two or more dimensions.
        clip: largest norm of the gradient.
        ema: decay of the averaged weights, which are validated and kept; 0 keeps the last ones.
        precision: of the networks; losses and geometry are never in bfloat16. ``auto``: ``bf16``
            where the device is faster with it, else ``fp32``.
        seed: of everything that is drawn.
        most_faults: steps in a row with a loss that is not finite, after which training stops.
        accumulate: parts in which each process takes its samples of a step, one after the other,
            which spares memory.
        batch_norm: statistics of batch normalisation: ``own`` of each part, running ones averaged
            over the processes; ``sync`` of a part of all processes together (GPUs only); ``frozen``
            running ones as they are at the start, which suits pretrained weights and small parts.
        shard: whether the processes share out weights, their average and the optimizer (FSDP2),
            for networks that are too large for one GPU; the files stay the same.

    Raises:
        InputError: when there are no parts.
    """

    steps: int = 20_000
    lr: float = 1e-4
    bootstrap_lr: float = 1e-3
    schedule: Literal["cosine", "step", "onecycle"] = "cosine"
    drop: float = 0.75
    encoder_lr: float = 1.0
    pose_lr: float = 1.0
    rise: int = 200
    weight_decay: float = 1e-2
    clip: float = 1.0
    ema: float = 0.999
    precision: Precision = "fp32"
    seed: int = 0
    most_faults: int = 5
    accumulate: int = 1
    batch_norm: Literal["own", "sync", "frozen"] = "own"
    shard: bool = False

    def __post_init__(self) -> None:
        """Refuse what leaves nothing to learn from."""
        if self.accumulate < 1:
            raise InputError("--optim.accumulate", f"is {self.accumulate}", "give 1 or more")


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """A training, whole.

    Attributes:
        model: the networks.
        data: samples.
        loss: what is minimised.
        refinement: inside training.
        bootstrap: a start with truth.
        metric: learning from true depth alone, in place of video.
        optim: how it is minimised.
        save_every: steps between states that a killed training goes on from.
        validate_every: steps between validations.
        validate_frames: first frames of each validation sequence; 0 is all of them.

    Raises:
        InputError: when two kinds of training are asked for at once.
    """

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    refinement: RefineTraining = field(default_factory=RefineTraining)
    bootstrap: Bootstrap = field(default_factory=Bootstrap)
    metric: MetricConfig = field(default_factory=MetricConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    save_every: int = 200
    validate_every: int = 1000
    validate_frames: int = 0

    def __post_init__(self) -> None:
        """Refuse a bootstrap, which needs poses, in a training that has none."""
        if self.metric.enabled and self.bootstrap.steps:
            problem = f"is {self.bootstrap.steps} in a training from true depth alone"
            raise InputError("--bootstrap.steps", problem, "set it to 0")
