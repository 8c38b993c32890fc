"""How a run is dealt out among processes, and put together by the writer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import pytest
from torch.distributed import HashStore

from vo.datasets import open_sequence
from vo.datasets.errors import InputError
from vo.datasets.frame import Sequence
from vo.drive import Drive, run
from vo.odometry import Odometry
from vo.ranks import Ranks
from vo.tools.run import run_drives
from vo.tools.running.flags import RunFlags
from vo.tools.running.record import LineFile, Record
from vo.tools.running.samples import DepthSamples
from vo.tools.running.shared import LEAST, MOST, Board, Share, Stretch, stretches

WRITER, OTHER = Ranks(0, 2), Ranks(1, 2)


@pytest.mark.parametrize("processes", [1, 2, 3, 16])
@pytest.mark.parametrize(
    "lengths", [[1], [7], [16], [100], [500, 400, 1], [3, 3, 3, 2000], [12, 12], [9] * 40]
)
def test_stretches_cover_every_frame_once_and_in_order(lengths: list[int], processes: int) -> None:
    found = stretches(lengths, processes)
    frames = [(s.drive, i) for s in found for i in range(s.first, s.end)]
    assert frames == [(drive, i) for drive, n in enumerate(lengths) for i in range(n)]
    for stretch in found:
        count = stretch.end - stretch.first
        assert count < MOST + LEAST
        assert count >= min(LEAST, lengths[stretch.drive])


def test_pieces_become_smaller_so_that_all_end_together() -> None:
    counts = [s.end - s.first for s in stretches([500], 2)]
    assert counts[0] == MOST
    assert all(a >= b for a, b in pairwise(counts[:-1]))
    assert LEAST <= counts[-1] < 2 * LEAST
    # Whoever is free takes the next: with processes of the same speed none waits for long.
    loads = [0, 0]
    for count in counts:
        loads[loads.index(min(loads))] += count
    assert abs(loads[0] - loads[1]) < 2 * LEAST


def test_drives_stay_whole_where_every_motion_needs_the_one_before() -> None:
    found = stretches([500, 3], 2, whole=True)
    assert found == [Stretch(0, 0, 500), Stretch(1, 0, 3)]


@dataclass(frozen=True, eq=False)
class Damaged:
    """A drive one of whose frames cannot be read."""

    sequence: Sequence
    damaged: int

    def __getattr__(self, name: str) -> object:
        return getattr(self.sequence, name)

    def __len__(self) -> int:
        return len(self.sequence)

    def __getitem__(self, index: int) -> object:
        if index == self.damaged:
            raise InputError(f"{index}.png", "is damaged")
        return self.sequence[index]


@pytest.fixture
def odometry(tiny_checkpoint: Path) -> Odometry:
    return Odometry.from_checkpoint(tiny_checkpoint)


@pytest.fixture
def drive(long_street: Path) -> Sequence:
    return open_sequence(long_street, "00")


class Folder:
    """Where a share is written to."""

    def __init__(self, path: Path, frames: int) -> None:
        path.mkdir()
        self.path, self.samples = path, DepthSamples(frames)
        self.record = Record(path, ("raw", "refined"), LineFile(path / "log.txt"), timed=False)

    def collect(self, share: Share, drive: Sequence) -> None:
        with self.record:
            share.collect(drive, self.record, self.samples, lambda: None, lambda: False)

    def files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.path.iterdir()}


def whole(path: Path, odometry: Odometry, drive: Sequence) -> Folder:
    """As a process by itself writes it."""
    folder, found, T_w_c = Folder(path, len(drive)), Drive(), drive.T_w_c
    assert T_w_c is not None
    with folder.record:
        for frame, estimate in run(odometry, (drive[i] for i in range(len(drive)))):
            folder.record.add(found.add(frame, estimate), estimate, T_w_c[estimate.index])
            folder.samples.see(frame, estimate)
    return folder


@pytest.mark.parametrize("alone", [WRITER, OTHER])
def test_it_does_not_matter_who_runs_a_stretch(
    alone: Ranks, odometry: Odometry, drive: Sequence, tmp_path: Path
) -> None:
    board = Board(HashStore())
    if alone == OTHER:
        Share(OTHER, board, odometry, [drive]).work()
    folder = Folder(tmp_path / "shared", len(drive))
    folder.collect(Share(WRITER, board, odometry, [drive]), drive)
    expected = whole(tmp_path / "whole", odometry, drive)
    assert folder.files() == expected.files()
    assert [s.position for s in folder.samples.samples] == expected.samples.positions
    for found, sample in zip(folder.samples.samples, expected.samples.samples, strict=True):
        assert (found.image == sample.image).all()
        assert (found.depth == sample.depth).all()


@pytest.mark.parametrize("alone", [WRITER, OTHER])
def test_what_comes_before_a_damaged_frame_is_written(
    alone: Ranks, odometry: Odometry, drive: Sequence, tmp_path: Path
) -> None:
    board, damaged = Board(HashStore()), Damaged(drive, 19)
    if alone == OTHER:
        Share(OTHER, board, odometry, [damaged]).work()  # posts the error, and says nothing
    folder = Folder(tmp_path / "shared", len(drive))
    with pytest.raises(InputError, match=r"19\.png"):
        folder.collect(Share(WRITER, board, odometry, [damaged]), damaged)
    expected = whole(tmp_path / "whole", odometry, drive).files()
    for name, content in folder.files().items():
        lines = 20 if name == "scale.csv" else 0 if name == "log.txt" else 19
        assert content.splitlines() == expected[name].splitlines()[:lines], name
    assert board.take() > 1000, "nobody goes on behind the damage"


@pytest.mark.parametrize(("flag", "value"), [("view", True), ("rrd", Path("a.rrd")), ("serve", ())])
def test_a_view_of_several_processes_is_refused(
    run_flags: RunFlags, flag: str, value: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=f"^--{flag}: shows the images of one process, and this"):
        run_drives(replace(run_flags, **{flag: value}), WRITER)
    assert not list(tmp_path.iterdir())
