"""`python -m vo.tools.benchmark pairs`: disturbed true poses, and what is left of the errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vo.datasets import open_sequence
from vo.datasets.errors import InputError
from vo.refine import PoseRefiner, RefineConfig
from vo.tools.benchmarks.pairs import pair_errors, pairs


def test_errors_of_the_start_are_as_asked_and_grow_smaller(tiny_street: Path) -> None:
    drive = open_sequence(tiny_street, "09")
    refiner = PoseRefiner(RefineConfig(iterations=(5, 5, 5)))
    found = pair_errors(drive, 1, 3, 0.2, 0.5, refiner)
    assert len(found.before) == 4
    np.testing.assert_allclose(found.before, [[0.2, 0.5]] * 4, rtol=1e-6)
    assert (found.after[:, 0] < 0.1).all()
    assert found.success.all()


def test_with_a_checkpoint_depth_and_features_are_its_own(
    tiny_street: Path, tiny_checkpoint: Path, capsys: pytest.CaptureFixture
) -> None:
    pairs(tiny_street, "10", ckpt=str(tiny_checkpoint), step=4, start=2, end=9)
    row = capsys.readouterr().out.splitlines()[1].split()
    assert row[:2] == ["1", "2"], "one gap; frames 2 and 6 of 2 to 8, each with the next"
    with pytest.raises(InputError, match="--size: is that of the checkpoint"):
        pairs(tiny_street, "10", ckpt=str(tiny_checkpoint), size=(96, 64))


def test_a_drive_without_true_poses_is_refused(walk: Path) -> None:
    size = "fx: 48\nfy: 48\ncx: 47.5\ncy: 31.5\nwidth: 96\nheight: 64\n"
    (walk / "camera.yaml").write_text(size)
    with pytest.raises(InputError, match="has no true poses"):
        pairs(walk)
