"""A tiny street and tiny networks."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_training import tiny_config

from vo.datasets import open_sequence
from vo.datasets.frame import Sequence
from vo.datasets.street import render_street
from vo.training.config import TrainConfig


@pytest.fixture(scope="session")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sequences of 14 frames at 128 x 64."""
    root = tmp_path_factory.mktemp("street")
    render_street(root, ["00", "01"], size=(128, 64), frames=14)
    return root


@pytest.fixture
def drive(street: Path) -> Sequence:
    return open_sequence(street, "00")


@pytest.fixture
def config() -> TrainConfig:
    """Four samples a step; no bootstrap, refinement from the first step."""
    return tiny_config()
