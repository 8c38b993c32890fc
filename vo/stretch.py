"""A part of a drive, run by itself: its motions are those that a run of the whole drive finds.

A step of the odometry needs the frame before. Only where a pair is not tracked from its first
guess does it need the motion before, too, and how long that took. An odometry that begins anew
knows no motion: what it tracks in its first pair is tracked from the first guess alone, as by an
odometry that comes from far. From that pair on both know the same, and do the same. A stretch thus
begins one frame before its own frames; two, four, eight ... where that first pair is not tracked;
at the latest with the drive.

Where the motion before is itself the first guess, every motion needs all that are before it: then
the whole drive is the only stretch that costs no more than its own frames.

Composition needs all motions before, too: see `joined`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from itertools import chain, islice

import numpy as np

from vo.datasets.frame import Frame, Sequence
from vo.datasets.sequence import View
from vo.drive import Drive, run_ahead
from vo.odometry import Estimate, Odometry
from vo.poses import composed


def run_stretch(
    odometry: Odometry, sequence: Sequence, first: int, end: int
) -> Iterator[tuple[Frame, Estimate]]:
    """Frames ``first`` to ``end - 1`` of a drive.

    Motions and numbers are those of the whole drive, bit for bit where the processor computes the
    same; poses count from wherever the odometry began, until they are `joined`.

    Args:
        odometry: begins anew.
        sequence: the whole drive.
        first: position of the first frame, from 0.
        end: position after the last one.

    Raises:
        ValueError: when there are no such frames.
        InputError: when one of them is damaged, or one before them that is needed.
    """
    if not 0 <= first < end <= len(sequence):
        raise ValueError(f"frames {first} to {end} of a drive with {len(sequence)}")
    return _run_stretch(odometry, sequence, first, end)


def joined(drive: Drive, estimate: Estimate) -> Estimate:
    """The estimate of the next frame of a drive, its poses composed with those before it."""
    T_w_last, T_w_last_raw = np.eye(4), np.eye(4)
    if drive.rows:
        T_w_last, T_w_last_raw = drive.T_w_c[-1], drive.T_w_c_raw[-1]
    return dataclasses.replace(
        estimate,
        T_w_c=composed(T_w_last, estimate.T_last_c),
        T_w_c_raw=composed(T_w_last_raw, estimate.T_last_c_raw),
    )


def _run_stretch(
    odometry: Odometry, sequence: Sequence, first: int, end: int
) -> Iterator[tuple[Frame, Estimate]]:
    before = 1 if odometry.first_guess == "network" else first
    while True:
        start = max(first - before, 0)
        results = _run_from(odometry, sequence, start, end)
        begun = list(islice(results, 2))
        if start == 0 or begun[-1][1].tracked:
            break
        before *= 2
    for position, (frame, estimate) in enumerate(chain(begun, results), start):
        if position >= first:
            yield frame, dataclasses.replace(estimate, index=position)


def _run_from(
    odometry: Odometry, sequence: Sequence, start: int, end: int
) -> Iterator[tuple[Frame, Estimate]]:
    return run_ahead(odometry, View(sequence, np.arange(start, end), sequence.camera))
