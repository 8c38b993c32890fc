"""Pictures are drawn without a trace in the session that asks for them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.image import imread

from vo.evaluation import evaluate
from vo.tools.plots import PALETTE, Curve, draw, styles
from vo.trajectory import Trajectory


def bend(n: int = 150) -> Trajectory:
    T_w_c = np.tile(np.eye(4), (n, 1, 1))
    T_w_c[:, 0, 3] = np.linspace(0, 10, n) ** 2
    T_w_c[:, 2, 3] = np.arange(n)
    return Trajectory(np.arange(n) / 10, T_w_c, np.arange(n))


def colours(path: Path) -> set[tuple[int, ...]]:
    pixels = np.round(imread(path)[..., :3] * 255).astype(int).reshape(-1, 3)
    return set(map(tuple, np.unique(pixels, axis=0).tolist()))


def rgb(text: str) -> tuple[int, ...]:
    return tuple(int(text[k : k + 2], 16) for k in (1, 3, 5))


@pytest.fixture
def curves() -> dict[str, Curve]:
    late = bend().subset(np.arange(10, 150))
    return {
        "one": Curve(evaluate(bend(), bend().scaled(0.8), "none"), np.eye(4)),
        "two": Curve(evaluate(late, late.scaled(1.2), "none"), bend().T_w_c[10]),
    }


def test_every_estimate_is_seen_in_every_picture(curves, tmp_path: Path) -> None:
    draw(bend(), curves, tmp_path)
    for name in ("trajectories", "position_error", "segment_errors"):
        seen = colours(tmp_path / f"{name}.png")
        assert rgb(PALETTE[0]) in seen
        assert rgb(PALETTE[1]) in seen
    assert not list(tmp_path.glob(".*"))


def test_drawing_twice_gives_the_same_files(curves, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        draw(bend(), curves, tmp_path / name)
    for path in sorted((tmp_path / "a").iterdir()):
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


def test_the_callers_settings_and_figures_survive(curves, tmp_path: Path) -> None:
    plt.switch_backend("svg")
    mine = plt.figure()
    with mpl.rc_context({"lines.linewidth": 7.5}):
        before = dict(mpl.rcParams)
        draw(bend(), curves, tmp_path)
        changed = {key for key, value in before.items() if mpl.rcParams[key] != value}
    assert not changed
    assert mpl.get_backend() == "svg"
    assert plt.get_fignums() == [mine.number]
    plt.close(mine)


def test_evo_leaves_nothing_in_a_home_and_needs_none(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.write_text("a file, in which no folder can be made")
    code = (
        "import os\n"
        f"os.environ['HOME'] = os.environ['USERPROFILE'] = {str(home)!r}\n"
        "from vo.tools.plots import _evo_plot\n"
        "with _evo_plot() as (plot, plt):\n"
        "    print(plt.get_backend().lower(), plot.SETTINGS.plot_backend)\n"
        "print(os.environ['HOME'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["agg", "Agg", str(home)]
    assert done.stderr == ""


def test_styles_differ_for_many_estimates() -> None:
    found = styles(["a", "refined", *map(str, range(30))])
    assert len({tuple(style.values()) for style in found.values()}) == 32
    assert found["a"]["color"] == PALETTE[0]


def test_refined_poses_have_their_colour_where_no_raw_ones_are(curves, tmp_path: Path) -> None:
    draw(bend(), {"refined": curves["one"]}, tmp_path)
    for name in ("trajectories", "position_error", "segment_errors"):
        seen = colours(tmp_path / f"{name}.png")
        assert rgb(PALETTE[1]) in seen
        assert rgb(PALETTE[0]) not in seen
