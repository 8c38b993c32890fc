"""The demo ends with a table, and replaces nothing but an earlier demo."""

from __future__ import annotations

import cv2
import pytest

from vo.datasets.errors import InputError
from vo.tools.demo import Demo, show


@pytest.fixture
def demo(tiny_checkpoint, tmp_path, monkeypatch) -> Demo:
    monkeypatch.setenv("VO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("vo.datasets.street.dataset.default_frames", lambda seq: 4)
    return Demo(tmp_path / "demo", "09", str(tiny_checkpoint))


@pytest.mark.usefixtures("no_pictures")
def test_demo_ends_with_table_and_pictures_to_look_at(demo, capsys):
    for _ in range(2):  # the second replaces the first
        show(demo)
        out = capsys.readouterr().out
        assert [line.split()[0] for line in out.splitlines()[2:4]] == ["raw", "refined"]
        assert out.splitlines()[-1].startswith(f"look at {demo.out / 'street.png'}")
    assert sorted(path.name for path in demo.out.iterdir()) == ["09", "street.png"]
    assert len((demo.out / "09/refined.txt").read_text().splitlines()) == 4
    # four frames, each beside its depth
    assert cv2.imread(str(demo.out / "street.png")).shape == (4 * 64, 2 * 96, 3)


def test_demo_leaves_what_is_no_run_alone(demo):
    (demo.out / "09").mkdir(parents=True)
    (demo.out / "09/notes").write_text("mine")
    with pytest.raises(InputError, match="holds something already"):
        show(demo)
    assert (demo.out / "09/notes").read_text() == "mine"


def test_demo_without_its_checkpoint_says_so(demo, tmp_path):
    with pytest.raises(InputError, match=r"none\.safetensors: no such checkpoint"):
        show(Demo(tmp_path, "09", "none.safetensors"))
