"""The weights that a training leaves, and what their card says of how they came to be."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vo.checkpoint import Card, Supervision
    from vo.tools.training.flags import Flags
    from vo.tools.training.samples import Samples
    from vo.training.config import TrainConfig
    from vo.training.trainer import Trainer
    from vo.training.validation import Validation


def save_weights(
    flags: Flags, config: TrainConfig, trainer: Trainer, samples: Samples,
    found: Validation | None, file: str,
) -> None:  # fmt: skip
    """Write the averaged weights with their card; in half precision where they are to be shipped.

    All processes of a training must call it; the first one writes.

    Args:
        flags: of the command.
        config: of the training.
        trainer: holds the weights and the number of steps.
        samples: that were trained on.
        found: the validation that chose these weights; None for the last ones.
        file: name in the folder of the run.
    """
    import torch

    from vo.checkpoint import save_checkpoint

    weights = trainer.state.whole_average()
    if not trainer.ranks.is_writer:
        return
    half = torch.float16 if flags.preset == "street" else None
    card = _card(flags, config, trainer.state.step, samples, found)
    save_checkpoint(flags.out / file, weights, card, half)


def _card(
    flags: Flags, config: TrainConfig, steps: int, samples: Samples, found: Validation | None
) -> Card:
    from vo.checkpoint import Card, read_card
    from vo.datasets.listing import known_as
    from vo.tools.training.leakage import frames_hash
    from vo.tools.version import commit

    start, taught = "", config.bootstrap.steps > 0
    metric = taught or config.data.stereo or config.metric.enabled
    if flags.init not in (None, "none", "pretrained"):
        first = read_card(str(flags.init))[1]
        metric, taught = metric or first.metric, taught or first.supervision.startswith("metric")
        learned = f"{first.supervision} on {', '.join(first.trained_on)}"
        start = f"{first.name}: {learned}, {first.images_seen} images; "
    if config.bootstrap.steps:
        seen = min(config.bootstrap.steps, steps) * config.data.batch
        start += f"{seen} images with true depth and poses of the same sequences"
    data = flags.data.name if flags.data else "street"
    return Card(
        name=flags.name,
        preset=flags.preset,
        supervision="metric" if config.metric.enabled else _supervision(taught, config.data.stereo),
        trained_on=tuple(dict.fromkeys(f"{data}/{known_as(drive)}" for drive in samples.drives)),
        split_hash=frames_hash(samples),
        images_seen=steps * config.data.batch,
        commit=commit(),
        licence="Apache-2.0" if flags.data is None else "as its training data allow",
        metric=metric,
        metrics={} if found is None else found.numbers,
        bootstrap=start,
    )


def _supervision(taught: bool, stereo: bool) -> Supervision:
    """What a model of ours learned from, as papers abbreviate it."""
    if taught:
        return "metric+MS" if stereo else "metric+M"
    return "MS" if stereo else "M"
