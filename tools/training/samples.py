"""The samples that ``vo-train`` draws from its drives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vo.datasets.errors import InputError

if TYPE_CHECKING:
    from vo.datasets.annotated_batches import AnnotatedSamples
    from vo.datasets.frame import Sequence
    from vo.datasets.triplets import Triplets
    from vo.training.config import TrainConfig

    Samples = Triplets | AnnotatedSamples


def samples_of(
    config: TrainConfig, drives: list[Sequence], targets: list[frozenset[int] | None] | None = None
) -> Samples:
    """Samples of the drives in an order of their own.

    Args:
        config: of the training.
        drives: with true depth where the training is metric, else video.
        targets: positions of the frames to learn from in each drive; all of them where None.

    Raises:
        InputError: when the data have no samples, or lack truth that is asked for.
    """
    from vo.datasets.annotated_batches import AnnotatedSamples
    from vo.datasets.triplets import Triplets

    data, seed = config.data, config.optim.seed
    if config.metric.enabled:
        size = config.model.width, config.model.height
        return AnnotatedSamples(
            drives, data.batch, size, config.metric.augment, seed, data.mirror, data.memory_gb,
            data.workers,
        )  # fmt: skip
    samples = Triplets(
        drives, data.batch, data.gaps, seed, data.mirror, data.memory_gb, data.workers, data.stereo,
        targets,
    )  # fmt: skip
    _demand_truth(config, samples)
    return samples


def _demand_truth(config: TrainConfig, samples: Triplets) -> None:
    if config.bootstrap.steps == 0:
        return
    sample = samples.at(0)
    if sample.depth is None or sample.T_s_t is None:
        problem = "needs true depth and poses, which these data lack"
        raise InputError("--bootstrap.steps", problem, "set it to 0, or --preset finetune")
