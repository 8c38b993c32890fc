"""What a training list has in common with a test list, counted by hand and the slow way."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from vo.datasets.kitti_drives import odometry_frames
from vo.datasets.leakage import KINDS, Leakage, Sample, find_leakage, samples_of, sequences_seen
from vo.datasets.split_list import ListedFrame

A, B, C = "2011_09_26_drive_0002_sync", "2011_09_30_drive_0027_sync", "2011_09_28_drive_0002_sync"
CLEAN, E, ELSEWHERE = (f"2011_09_26_drive_{n:04d}_sync" for n in (36, 48, 1))


def frames(text: str) -> list[ListedFrame]:
    """Frames of lines such as ``A 5 l``, with the date above every other drive."""
    names = {"A": A, "B": f"{B[:10]}/{B}", "C": C, "D": CLEAN, "E": f"{E[:10]}/{E}", "F": ELSEWHERE}
    words = (line.split() for line in text.strip().split(";"))
    return [ListedFrame(names.get(name, name), int(number), side) for name, number, side in words]


# The published list of 71,634 lines in miniature: drives of the test occur, one target is a test
# frame, the right views of others are targets, and so are their neighbours; one drive is clean.
TEST = frames("A 5 l; A 15 l; A 25 l; A 35 l; B 656 l; B 700 l; C 10 l; C 20 l; D 7 l; E 50 l")
TRAIN = frames(
    "B 656 l; B 655 l; A 5 r; A 15 r; A 14 l; A 26 l; A 34 r; C 8 l; E 90 l; F 7 l; F 25 l"
)


def counts(found: Leakage) -> dict[str, tuple[int, int]]:
    """Test frames and training targets by kind."""
    return {finding.kind: (len(finding.pairs), finding.targets) for finding in found.findings}


def test_the_pattern_of_the_published_list_is_counted() -> None:
    found = find_leakage(samples_of(TRAIN), TEST)
    assert counts(found) == {
        "same frame": (1, 1),  # B 656
        "same frame, other camera": (2, 2),  # A 5 and A 15 by their right views
        "source": (3, 3),  # A 15 beside 14, A 25 beside 26, B 656 beside 655
        "adjacent frame": (3, 3),
        "adjacent frame, other camera": (1, 1),  # A 35 by 34 r
        "same drive": (9, 9),  # all but D 7; all but F
    }
    assert (found.targets, found.test_frames) == (11, 10)
    assert found.drives == tuple(sorted((A, B, C, CLEAN, E)))
    assert found.shared_drives == tuple(sorted((A, B, C, E)))
    assert not found.is_clean


def test_with_stereo_the_other_view_is_loaded_as_well() -> None:
    found = counts(find_leakage(samples_of(TRAIN, stereo=True), TEST))
    plain = counts(find_leakage(samples_of(TRAIN), TEST))
    assert found["source"] == (4, 5)  # A 5 beside 5 r; A 15 beside 15 r and 14 l; A 25; B 656
    assert {**found, "source": None} == {**plain, "source": None}


def test_the_gap_says_which_frames_are_loaded() -> None:
    assert counts(find_leakage(samples_of(TRAIN, gaps=(2,)), TEST))["source"] == (1, 1)  # C 10
    found = counts(find_leakage(samples_of(TRAIN, gaps=(1, 2)), TEST))
    assert found["source"] == (4, 4)
    assert found["adjacent frame"] == (3, 3)


def test_every_test_frame_comes_with_the_training_frame() -> None:
    same, other, source, *_ = find_leakage(samples_of(TRAIN), TEST).findings
    assert same.pairs == ((TEST[4], TRAIN[0]),)
    assert other.pairs == ((TEST[0], TRAIN[2]), (TEST[1], TRAIN[3]))
    assert source.pairs == ((TEST[1], TRAIN[4]), (TEST[2], TRAIN[5]), (TEST[4], TRAIN[1]))


def test_a_drive_in_common_alone_is_clean() -> None:
    found = find_leakage(samples_of(frames("A 100 l")), TEST)
    assert found.is_clean
    assert counts(found)["same drive"] == (4, 1)
    nothing = find_leakage(samples_of(frames("F 5 l")), TEST)
    assert nothing.is_clean
    assert set(counts(nothing).values()) == {(0, 0)}


def test_raw_drives_are_found_behind_a_sequence_of_odometry() -> None:
    raw = "2011_09_30/2011_09_30_drive_0033_sync"
    train = [ListedFrame(raw, n, "l") for n in range(100, 110)]
    test = [ListedFrame("09", n, "l") for n in range(105, 120)]
    found = counts(find_leakage(samples_of(train), test))
    # 105 to 109 are targets, which also load 110; of 106 to 110 the frame before is a target
    assert (found["same frame"], found["source"]) == ((5, 5), (6, 6))
    assert found["same drive"] == (15, 10)


def test_a_sequence_that_begins_later_is_counted_from_there() -> None:
    drive = "2011_09_30_drive_0028_sync"
    found = counts(find_leakage(samples_of(frames(f"{drive} 1100 l")), frames("8 0 l; 08 1 l")))
    assert (found["same frame"], found["adjacent frame"]) == ((1, 1), (1, 1))
    before = find_leakage(samples_of(frames(f"{drive} 0 l")), frames("8 0 l"))
    assert before.is_clean
    assert before.shared_drives == (drive,)


def test_a_whole_sequence_trains_on_all_of_it() -> None:
    test = [ListedFrame("2011_09_30_drive_0016_sync", n, "r") for n in (0, 270, 271, 272)]
    found = counts(find_leakage(samples_of(odometry_frames("04")), test))
    assert found["same frame"][0] == found["same frame, other camera"][0] == 2
    assert found["source"][0] == 3


def test_the_street_is_not_kitti() -> None:
    samples = samples_of(frames("07 656 l; 09 3 l"))
    test = frames("B 656 l; 9 3 l")
    assert counts(find_leakage(samples, test, street=True))["same frame"] == (1, 1)
    assert counts(find_leakage(samples, test))["same frame"] == (2, 2)


def test_a_side_that_is_not_told_may_be_either() -> None:
    train, test = [ListedFrame("a", 1, "r"), ListedFrame("b", 1)], [ListedFrame("a", 1)]
    assert counts(find_leakage(samples_of(train), test))["same frame"] == (1, 1)
    found = counts(find_leakage(samples_of(train), frames("b 1 l")))
    assert found["same frame"] == (1, 1)
    assert found["same frame, other camera"] == (0, 0)


def test_lines_that_are_repeated_count_each_time() -> None:
    found = counts(find_leakage(samples_of(frames("A 5 l; A 5 l; A 5 l")), frames("A 5 l; A 5 l")))
    assert found["same frame"] == (2, 3)


def test_samples_hold_what_is_loaded() -> None:
    [sample] = samples_of([ListedFrame("a", 1, "r")], gaps=(1, 2), stereo=True)
    assert [(f.folder, f.number, f.side) for f in sample.sources] == [
        ("a", 0, "r"), ("a", 2, "r"), ("a", 3, "r"), ("a", 1, "l"),
    ]  # fmt: skip


@pytest.mark.parametrize("seed", range(20))
def test_counts_are_those_of_comparing_each_with_each(seed: int) -> None:
    rng = random.Random(seed)

    def some(most: int) -> list[ListedFrame]:
        return [
            ListedFrame(rng.choice("abc"), rng.randrange(12), rng.choice("lr"))
            for _ in range(rng.randrange(1, most))
        ]

    train, test = some(12), some(12)
    samples = samples_of(train, gaps=(2,), stereo=bool(seed % 2))
    assert counts(find_leakage(samples, test)) == slow_counts(samples, test)


def slow_counts(
    samples: Sequence[Sample], test: Sequence[ListedFrame]
) -> dict[str, tuple[int, int]]:
    def is_kind(kind: str, frame: ListedFrame, sample: Sample) -> bool:
        target = sample.target
        apart = abs(frame.number - target.number)
        return (
            frame.folder == target.folder
            and {
                "same frame": apart == 0 and frame.side == target.side,
                "same frame, other camera": apart == 0 and frame.side != target.side,
                "source": frame in sample.sources,
                "adjacent frame": apart == 1 and frame.side == target.side,
                "adjacent frame, other camera": apart == 1 and frame.side != target.side,
                "same drive": True,
            }[kind]
        )

    return {
        kind: (
            sum(any(is_kind(kind, frame, sample) for sample in samples) for frame in test),
            sum(any(is_kind(kind, frame, sample) for frame in test) for sample in samples),
        )
        for kind in KINDS
    }


@pytest.mark.parametrize(
    ("entry", "data", "name", "seen"),
    [
        ("kitti/09", "kitti", "09", True),
        ("kitti/09", "elsewhere", "9", True),
        ("kitti/09", "kitti", "10", False),
        ("raw/2011_09_30_drive_0033_sync", "odometry", "09", True),
        ("raw/2011_09_30_drive_0033_sync/image_03", "odometry", "09", True),
        ("kitti/09", "raw", "2011_09_30_drive_0033_sync", True),
        ("street/09", "street", "09", True),
        ("street/09", "kitti", "09", False),
        ("street/09", "raw", "2011_09_30_drive_0033_sync", False),
        ("kitti/09", "street", "09", False),
        ("7scenes/chess/seq-01", "7scenes", "chess/seq-01", True),
        ("7scenes/chess/seq-01", "7scenes", "fire/seq-01", False),
        ("eigen_zhou", "raw", "2011_09_26_drive_0001_sync", False),
    ],
)
def test_sequences_on_a_card_are_known_again(entry: str, data: str, name: str, seen: bool) -> None:
    found = sequences_seen(["kitti/05", entry], data, ["other", name])
    assert found == ([name] if seen else [])
