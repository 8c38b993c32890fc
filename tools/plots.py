"""Pictures of trajectories and their errors, drawn by evo, as PNG and PDF."""

from __future__ import annotations

import io
import json
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, product
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any
from unittest import mock

from vo.atomic import write_atomically
from vo.datasets.camera import Array
from vo.evaluation import Evaluation
from vo.segments import LENGTHS_M
from vo.trajectory import Trajectory

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The palette "colorblind" of seaborn, without its greys, which are left to the ground truth.
PALETTE = ("#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc", "#ca9161", "#56b4e9", "#ece133")
COLOURS = {"raw": PALETTE[0], "refined": PALETTE[1], "depth": PALETTE[2]}  # wherever they stand
TRUTH_COLOUR = "#333333"
LINE_STYLES = ("-", "--", "-.", ":")  # tell estimates apart that share a colour
EVO_SETTINGS = {"plot_backend": "Agg", "plot_seaborn_style": "whitegrid"}


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """One estimate to draw.

    Attributes:
        evaluation: its errors.
        T_w_first: (4, 4) pose of the first common camera in the world of the picture, which is
            the first camera of the whole truth.
    """

    evaluation: Evaluation
    T_w_first: Array


def draw(truth: Trajectory, curves: dict[str, Curve], folder: Path) -> None:
    """Draw trajectories from above, the error along the path and the errors of sub-sequences.

    Writes ``trajectories``, ``position_error`` and ``segment_errors``, each ``.png`` and ``.pdf``.

    Args:
        truth: the whole ground truth, in any world.
        curves: estimates by name, at least one, all aligned in the same way.
        folder: an existing folder.
    """
    alignment = next(iter(curves.values())).evaluation.scores.alignment
    pictures: dict[str, Callable[[ModuleType, Figure], None]] = {
        "trajectories": lambda plot, figure: _trajectories(plot, figure, truth, curves, alignment),
        "position_error": lambda plot, figure: _position_error(plot, figure, curves, alignment),
        "segment_errors": lambda plot, figure: _segment_errors(plot, figure, curves, alignment),
    }
    with _evo_plot() as (plot, pyplot):
        for name, picture in pictures.items():
            figure = pyplot.figure(figsize=(9, 6.5))
            picture(plot, figure)
            for suffix, metadata in (("png", {"Software": None}), ("pdf", {"CreationDate": None})):
                # Drawn in memory, so that a full disk leaves no half picture.
                page = io.BytesIO()
                figure.savefig(page, format=suffix, dpi=150, metadata=metadata, bbox_inches="tight")
                write_atomically(folder / f"{name}.{suffix}", page.getvalue())
            pyplot.close(figure)


def _trajectories(
    plot: Any, figure: Figure, truth: Trajectory, curves: dict[str, Curve], alignment: str
) -> None:
    mode = plot.PlotMode.xz
    axes = plot.prepare_axis(figure, mode)
    plot.traj(axes, mode, truth.rebased().to_evo(), "--", TRUTH_COLOUR, "ground truth")
    for name, style in styles(curves).items():
        aligned = curves[name].evaluation.aligned.transformed(curves[name].T_w_first)
        plot.traj(axes, mode, aligned.to_evo(), style["linestyle"], style["color"], name)
    first = axes.plot(0, 0, "o", color=TRUTH_COLOUR, label="start")[0]
    first.set_zorder(5)
    # Beside the picture: a straight road leaves no room inside.
    axes.legend(frameon=True, loc="center left", bbox_to_anchor=(1.02, 0.5))
    axes.set_xlabel("x, to the right (m)")
    axes.set_ylabel("z, forward (m)")
    axes.set_title(f"Trajectories from above (alignment: {alignment})")


def _position_error(plot: Any, figure: Figure, curves: dict[str, Curve], alignment: str) -> None:
    axes = figure.add_subplot()
    for name, style in styles(curves).items():
        evaluation = curves[name].evaluation
        plot.error_array(
            axes,
            evaluation.position_errors_m,
            x_array=evaluation.truth.distances,
            name=f"{name} (ATE {evaluation.scores.ate_m:.3g} m)",
            title=f"Error along the path (alignment: {alignment})",
            xlabel="distance along the ground truth (m)",
            ylabel="position error (m)",
            **style,
        )
    axes.set_ylim(bottom=0)


def _segment_errors(plot: Any, figure: Figure, curves: dict[str, Curve], alignment: str) -> None:
    import matplotlib.pyplot as plt

    panels = (
        ("t_rel_percent", "translation error t_rel (%)"),
        ("r_rel_deg_per_100m", "rotation error r_rel (deg/100 m)"),
    )
    for place, (attribute, label) in enumerate(panels, start=1):
        axes = figure.add_subplot(1, 2, place)
        plt.sca(axes)  # evo labels the current axes
        for name, style in styles(curves).items():
            segments = curves[name].evaluation.segments
            means = [getattr(segments.of_length(length), attribute) for length in LENGTHS_M]
            plot.error_array(
                axes,
                means,
                x_array=LENGTHS_M,
                name=name,
                xlabel="length of sub-sequence (m)",
                ylabel=label,
                marker="o",
                **style,
            )
        axes.set_xlim(50, 850)
        if any(len(curve.evaluation.segments) for curve in curves.values()):
            axes.set_ylim(bottom=0)
        else:
            axes.set_ylim(0, 1)
            axes.text(450, 0.5, "no sub-sequence of 100 m", ha="center", va="center")
    figure.suptitle(f"Errors of sub-sequences (alignment: {alignment})")


def styles(names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Colour and line style of each estimate: its own, see `COLOURS`, or else the next that no
    other has; there are 32."""
    own = {name: ("-", COLOURS[name]) for name in names if name in COLOURS}
    others = cycle(s for s in product(LINE_STYLES, PALETTE) if s not in own.values())
    found = {name: own.get(name) or next(others) for name in names}
    return {name: {"linestyle": line, "color": colour} for name, (line, colour) in found.items()}


@contextmanager
def _evo_plot() -> Iterator[tuple[ModuleType, ModuleType]]:
    """evo's plotting and pyplot, drawing to memory; afterwards matplotlib is as it was.

    evo changes matplotlib's settings and backend for the whole process, which would break
    the figures of a session in which somebody else draws.
    """
    in_use = "matplotlib.pyplot" in sys.modules
    _quiet_import_of_pyplot()
    import matplotlib
    import matplotlib.pyplot as plt

    before = matplotlib.get_backend() if in_use else None
    with matplotlib.rc_context():
        plot = _import_evo_plot()
        plot.apply_settings(plot.SETTINGS)
        plt.switch_backend("Agg")
        try:
            yield plot, plt
        finally:
            if before is not None:
                plt.switch_backend(before)


def _import_evo_plot() -> Any:
    """Import evo's plotting without leaving a trace in the user's home.

    On import evo writes ``~/.evo`` and prints that it did; it fails where home is read-only, and
    a user's own settings there would change the pictures. So it finds a home of its own, with the
    settings that the pictures need. pyplot must be imported before: matplotlib keeps its list of
    fonts in the real home.
    """
    if "evo.tools.settings" not in sys.modules:
        import evo
        from evo.tools.settings_template import DEFAULT_SETTINGS_DICT

        with tempfile.TemporaryDirectory() as home:
            folder = Path(home) / ".evo"
            folder.mkdir()
            (folder / "assets_version").write_text(evo.__version__)
            settings = json.dumps(DEFAULT_SETTINGS_DICT | EVO_SETTINGS)
            (folder / "settings.json").write_text(settings)
            with mock.patch.dict(os.environ, HOME=home, USERPROFILE=home):
                import evo.tools.settings
    from evo.tools import plot

    return plot


def _quiet_import_of_pyplot() -> None:
    """Import pyplot without its warning about a home that cannot be written to."""
    logger = logging.getLogger("matplotlib")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        import matplotlib.pyplot  # noqa: F401
    finally:
        logger.setLevel(level)
