"""The checkpoint that comes with the package, and the README's example with it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import vo.datasets
from vo.checkpoint import SHIPPED, find_checkpoint, load_checkpoint, read_card
from vo.datasets import open_sequence
from vo.datasets.frame import Sequence
from vo.datasets.street import render_street
from vo.drive import run
from vo.odometry import Odometry
from vo.training.validation import validate

README = Path(__file__).parents[2] / "README.md"
FRAMES = 24


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Sequence:
    """The beginning of street 10, which the checkpoint was not trained on."""
    root = tmp_path_factory.mktemp("street")
    render_street(root, ["10"], size=(416, 128), frames=FRAMES)
    return open_sequence(root, "10")


def test_it_is_found_by_name_small_and_says_where_it_comes_from() -> None:
    file = find_checkpoint("street.safetensors")
    assert file.parent == SHIPPED
    assert file.stat().st_size <= 16_000_000
    config, card = read_card("street.safetensors")
    assert (config.width, config.height) == (416, 128)
    assert card.metric
    assert card.supervision == "metric+M"
    assert card.trained_on == tuple(f"street/{number:02d}" for number in range(9))
    assert file.with_suffix(".md").is_file(), "a model card lies beside it"


def test_refinement_betters_its_poses_on_a_street_it_has_not_seen(street: Sequence) -> None:
    model = load_checkpoint("street.safetensors").model
    _, numbers = validate(model, [street], model.config.refine)
    assert numbers["10/tracked"] == 1
    assert numbers["10/refined_rpe_trans_m"] < 0.5 * numbers["10/raw_rpe_trans_m"]
    assert numbers["10/refined_rpe_rot_deg"] < 0.5 * numbers["10/raw_rpe_rot_deg"]
    assert numbers["10/refined_scale_error"] < 0.5 * numbers["10/raw_scale_error"]
    assert numbers["10/abs_rel"] < 0.2
    assert numbers["10/depth_scale"] == pytest.approx(1, abs=0.2), "it is metric"


def test_dark_images_give_the_same_path(street: Sequence) -> None:
    """Without `vo.exposure` the motions of images of a fifth of the light are half a metre off."""
    odometry = Odometry.from_checkpoint("street.safetensors")
    frames = [street[i] for i in range(6)]
    dark = [replace(f, image=(0.2 * f.image).astype(np.uint8)) for f in frames]
    bright, found = ([e for _, e in run(odometry, drive)] for drive in (frames, dark))
    for a, b in zip(bright[1:], found[1:], strict=True):
        assert b.tracked
        assert np.linalg.norm(a.T_last_c[:3, 3] - b.T_last_c[:3, 3]) < 0.1


def test_the_example_of_the_readme_works(
    street: Sequence, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    (example,) = [block for block in blocks if "Odometry.from_checkpoint" in block]
    # The same street, but no more of it than the example looks at.
    monkeypatch.setattr(vo.datasets, "open_sequence", lambda *_, end, **__: street)
    exec(compile(example, str(README), "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == FRAMES
    assert lines[0].startswith("0 [0. 0. 0.] True (128, 416)")
    assert all(" True " in line for line in lines)
