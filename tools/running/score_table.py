"""Which numbers of a run are shown, and how: one table for terminal and report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vo.datasets.errors import InputError
from vo.tools.running.flags import KINDS

if TYPE_CHECKING:
    from rich.table import Table

KIND = "{kind}"


@dataclass(frozen=True, slots=True)
class Scored:
    """A run's content of ``metrics.json``.

    Attributes:
        metrics: what ``vo.tools.running.result.metrics`` gives.
        names: what tells it from the other runs of a table, by title of the column.
        where: the file, for messages.
    """

    metrics: dict[str, Any]
    names: dict[str, str] = field(default_factory=dict)
    where: str = "metrics.json"

    @property
    def kinds(self) -> tuple[str, ...]:
        """The trajectories: raw, refined, or both.

        Raises:
            InputError: when there is none.
        """
        # What is not there at all is missed where it is read.
        found = tuple(kind for kind in KINDS if self.metrics.get(kind, kind) is not None)
        if not found:
            raise InputError(self.where, f"has none of {', '.join(KINDS)}", "run vo-run again")
        return found

    def value(self, key: str, kind: str = "raw") -> float | str | None:
        """The number or word of a dotted key; None is what could not be measured.

        Raises:
            InputError: when there is no such key, or something else stands there.
        """
        found: Any = self.metrics
        for part in key.replace(KIND, kind).split("."):
            if found is None:
                return None
            if not isinstance(found, dict) or part not in found:
                problem = f"lacks {key.replace(KIND, kind)}"
                raise InputError(self.where, problem, "run vo-run again")
            found = found[part]
        if found is not None and not isinstance(found, int | float | str):
            problem = f"{key.replace(KIND, kind)} is neither number nor word"
            raise InputError(self.where, problem, "run vo-run again")
        return found


@dataclass(frozen=True, slots=True)
class Column:
    """One number.

    Attributes:
        title: over the column in a terminal, two lines.
        label: beside the number in a report, with its unit.
        key: dotted, in the metrics; ``{kind}`` stands for raw or refined.
        spec: format.
        factor: what the number is multiplied by.
        only: kind that alone has it, or empty.
        error: whether less is better.
        meaning: a sentence for a report.
        same: whether raw and refined share it although each has it.
    """

    title: str
    label: str
    key: str
    spec: str
    factor: float = 1.0
    only: str = ""
    error: bool = False
    meaning: str = ""
    same: bool = False

    @property
    def of_run(self) -> bool:
        """Whether raw and refined share it."""
        return self.same or (KIND not in self.key and not self.only)

    def cell(self, scored: Scored, kind: str) -> str:
        """The number as it is shown; a dash where there is none."""
        if self.only not in ("", kind):
            return "-"
        value = scored.value(self.key, kind)
        if value is None or isinstance(value, str):
            return value or "-"
        return format(self.factor * value, self.spec)


def columns(runs: Sequence[Scored]) -> list[Column]:
    """Every column that says something about some of the runs."""
    judged = [run.value("{kind}.ate_m", run.kinds[0]) is not None for run in runs]
    found: list[Column] = []
    if any(judged):
        found += ERRORS
    if not all(judged):
        units = {str(run.value("unit")) for run in runs}
        unit = units.pop() if len(units) == 1 else "own unit"
        found += [
            Column(
                f"path\n({unit})", f"path ({unit})", "{kind}.estimated_path_length", ".1f",
                meaning="length of the estimated path",
            ),
            *TRACKING,
        ]  # fmt: skip
    if any(run.kinds == KINDS for run in runs):
        found += SCALES
    if any(run.value(TRUE_SCALES[0].key, run.kinds[0]) is not None for run in runs):
        found += TRUE_SCALES
    if any(judged):
        found.append(ALIGNMENT)
    return [*found, SPEED]


def report_columns(runs: Sequence[Scored]) -> list[Column]:
    """`columns`, and what a report has room for."""
    found = columns(runs)
    if ALIGNMENT in found:
        found.insert(found.index(ALIGNMENT) + 1, FACTOR)
    if any(run.value(ABS_REL.key) is not None for run in runs):
        found.append(ABS_REL)
    found += [column for column in TRACKING if column not in found]
    if not any("refined" in run.kinds for run in runs):
        found.remove(TRACKING[0])
    return [*found, FRAMES]


def score_table(runs: Sequence[Scored], extra: Sequence[Column] = ()) -> Table:
    """Raw and refined in rows, numbers in columns; all runs have names under the same titles."""
    from rich.table import Table

    found = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    shown = [*columns(runs), *extra]
    for title in (*runs[0].names, "trajectory"):
        found.add_column(f"{title}\n", no_wrap=True)
    for column in shown:
        justify = "left" if column is ALIGNMENT else "right"
        found.add_column(column.title, justify=justify, no_wrap=True)
    for run in runs:
        for kind in run.kinds:
            cells = (column.cell(run, kind) for column in shown)
            found.add_row(*run.names.values(), kind, *cells)
    return found


ERRORS = [
    Column(
        "t_rel\n(%)", "t_rel (%)", "{kind}.t_rel_percent", ".3f",
        error=True, meaning="translation error over sub-sequences of 100 to 800 m",
    ),
    Column(
        "r_rel\n(deg/100m)", "r_rel (deg/100 m)", "{kind}.r_rel_deg_per_100m", ".4f",
        error=True, meaning="rotation error over the same sub-sequences",
    ),
    Column(
        "ATE\n(m)", "ATE (m)", "{kind}.ate_m", ".3f",
        error=True, meaning="root mean square of the position errors",
    ),
    Column(
        "RPE\n(m)", "RPE (m)", "{kind}.rpe_trans_m", ".4f",
        error=True, meaning="mean translation error from one frame to the next",
    ),
    Column(
        "RPE\n(deg)", "RPE (deg)", "{kind}.rpe_rot_deg", ".4f",
        error=True, meaning="mean rotation error from one frame to the next",
    ),
]  # fmt: skip
TRACKING = [
    Column(
        "residual\nmedian", "residual, median", "residual", ".4f", only="refined",
        meaning="feature cost that the refinement leaves",
    ),
    Column(
        "tracked\n(%)", "tracked (%)", "tracked", ".1f", 100.0,
        meaning="frames whose motion was found",
    ),
]  # fmt: skip
# That of the refined poses is 1 by construction, and says nothing.
SCALES = [
    Column(
        "raw/refined\nscale, mean", "raw over refined scale, mean", "scale.consistency.mean", ".4f",
        only="raw", meaning="1 where the poses already have the scale of the depth",
    ),
    Column(
        "\nspread", "raw over refined scale, spread", "scale.consistency.spread", ".4f",
        only="raw", meaning="what varies of it becomes drift",
    ),
]  # fmt: skip
TRUE_SCALES = [
    Column(
        "pose/depth\nscale, error", "pose over depth scale, off 1 by",
        "scale.alignment.{kind}.mean_error", ".4f",
        error=True, meaning="translation against the depth that it was refined by, both by truth",
    ),
    Column(
        "\nspread", "pose over depth scale, spread", "scale.alignment.{kind}.spread", ".4f",
        error=True, meaning="standard deviation over the median",
    ),
]  # fmt: skip
ALIGNMENT = Column(
    "align\n", "alignment", "{kind}.alignment", "", meaning="what was adjusted before measuring"
)
SPEED = Column(
    "frames/s\n", "frames/s", "frames_per_s", ".1f", meaning="reading and writing included"
)
FACTOR = Column(
    "scale\n", "scale of the alignment", "{kind}.scale", ".4g",
    meaning="the estimate was multiplied by it",
)  # fmt: skip
ABS_REL = Column(
    "abs_rel\n", "abs_rel of the depth", "depth.abs_rel", ".4f", error=True,
    meaning="mean over the frames, each scaled by its median",
)  # fmt: skip
FRAMES = Column(
    "frames\n", "frames", "{kind}.frames", ".0f", meaning="each has its pose", same=True
)
