"""Where a training starts: new weights, those of a checkpoint, or its own saved state."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from vo.datasets.errors import InputError

if TYPE_CHECKING:
    from vo.datasets.frame import Sequence
    from vo.model import Model
    from vo.ranks import Ranks
    from vo.tools.training.flags import Flags
    from vo.tools.training.samples import Samples
    from vo.training.config import TrainConfig
    from vo.training.trainer import Trainer


def trainer_of(
    flags: Flags,
    config: TrainConfig,
    samples: Samples,
    held_out: list[Sequence],
    me: Ranks,
    warn: Callable[[str], None],
) -> Trainer:
    """The training of some samples, judged by drives that are held out, where there are any.

    Raises:
        InputError: when checkpoint, saved state or device do not do.
    """
    from vo.model import Model, with_first_weights
    from vo.training.metric import validate_depth
    from vo.training.trainer import Trainer
    from vo.training.validation import validate

    model, device = None, me.device(flags.device)
    if flags.init not in (None, "none", "pretrained") and not flags.resume:
        model = Model(with_first_weights(config.model, False))
        _start_from(str(flags.init), model, warn)
    elif flags.resume:
        model = Model(with_first_weights(config.model, False))

    def judge(weights: Model) -> tuple[float, dict[str, float]]:
        if config.metric.enabled:
            return validate_depth(weights, held_out, config.metric, device, me)
        return validate(weights, held_out, config.model.refine, device, me)

    trainer = Trainer(
        config, samples, flags.out, device, model, judge if held_out else None, warn, me
    )
    if flags.resume:
        trainer.resume()
    return trainer


def _start_from(file: str, model: Model, warn: Callable[[str], None]) -> None:
    """Take over the weights of a checkpoint; layers that were changed start anew.

    Raises:
        InputError: when most layers are others.
    """
    from vo.checkpoint import load_checkpoint

    given, own = load_checkpoint(file).model.state_dict(), model.state_dict()
    changed = {_layer(key) for key in own if key not in given or given[key].shape != own[key].shape}
    layers = {_layer(key) for key in own}
    if len(changed) > len(layers) / 2:
        problem = f"{len(changed)} of the {len(layers)} layers are others than those of {file}"
        raise InputError("--init", problem, "start from none, or change fewer --model settings")
    kept = {key: weight for key, weight in given.items() if _layer(key) in layers - changed}
    model.load_state_dict(kept, strict=False)
    if changed:
        names = ", ".join(sorted(changed))
        warn(f"{len(changed)} of {len(layers)} layers do not fit {file} and start anew: {names}")


def _layer(key: str) -> str:
    return key.rpartition(".")[0]
