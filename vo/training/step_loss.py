"""The loss of a step as one module, so that what trains on several processes sees all of it."""

from __future__ import annotations

from torch import Tensor, nn

from vo.datasets.annotated_batches import AnnotatedBatch
from vo.datasets.draws import Source
from vo.datasets.triplets import TripletBatch
from vo.model import Model
from vo.refine import PoseRefiner
from vo.training.config import TrainConfig
from vo.training.metric import learn_depth
from vo.training.objective import Outcome, self_supervised
from vo.training.schedule import phase_of
from vo.training.supervision import supervised


class StepLoss(nn.Module):
    """Networks and what is asked of them.

    Args:
        model: the networks.
        config: of the training.
        bf16: whether networks compute in bfloat16.
    """

    def __init__(self, model: Model, config: TrainConfig, bf16: bool) -> None:
        super().__init__()
        self.model, self.config, self.bf16 = model, config, bf16
        self.refiner = PoseRefiner(config.refinement.settings)

    def forward(
        self,
        number: int,
        batch: TripletBatch | AnnotatedBatch,
        seen: Tensor,
        source: Source,
        pixels: float | None = None,
    ) -> tuple[Tensor, Outcome]:
        """What is minimised, with its gradient, and what came of it.

        Args:
            number: of the step.
            batch: samples, or a part of them.
            seen: the images as the networks see them.
            source: of random numbers.
            pixels: with true depth, that which the error of depth is divided by; those of the batch
                when not given.
        """
        config, model = self.config, self.model
        if isinstance(batch, AnnotatedBatch):
            outcome = learn_depth(model, batch, config.metric, self.bf16)
            return outcome.loss, outcome
        phase = phase_of(number, config)
        common = (config.refinement, source, self.bf16)
        if phase == "bootstrap":
            refines = config.bootstrap.refined > 0 and number % config.bootstrap.refined_every == 0
            refiner = self.refiner if refines and config.refinement.enabled else None
            outcome = supervised(model, refiner, batch, seen, config.bootstrap, *common, pixels)
            return outcome.loss, outcome
        refiner = self.refiner if phase == "refinement" else None
        outcome = self_supervised(model, refiner, batch, seen, config.loss, *common)
        return outcome.loss, outcome
