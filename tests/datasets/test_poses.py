"""Pose files: what is read, and the one line that says what is wrong with a damaged file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vo.datasets.errors import InputError
from vo.datasets.poses import (
    check_pose_matrices,
    pose_file_format,
    pose_problem,
    read_kitti_poses,
    read_tum_poses,
)

IDENTITY = "1 0 0 0 0 1 0 0 0 0 1 0"
# A quarter turn about y, then 1, 2, 3.
TURNED = "0 0 1 1 0 1 0 2 -1 0 0 3"
KITTI = f"{IDENTITY}\n{TURNED}\n"
TUM = "# t tx ty tz qx qy qz qw\n0.5 1 2 3 0 0 0 1\n1.5 4 5 6 0 0.7071 0 0.7071\n"


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str | bytes], Path]:
    def write_file(content: str | bytes) -> Path:
        path = tmp_path / "09.txt"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write_file


def test_kitti_lines_are_the_upper_rows_of_camera_to_world(write) -> None:
    poses = read_kitti_poses(write(KITTI))
    assert poses.frames is None
    np.testing.assert_array_equal(poses.T_w_c[0], np.eye(4))
    np.testing.assert_array_equal(
        poses.T_w_c[1], [[0, 0, 1, 1], [0, 1, 0, 2], [-1, 0, 0, 3], [0, 0, 0, 1]]
    )


@pytest.mark.parametrize("form", ["{}", "{}.0", "{}e+00"])
def test_a_thirteenth_number_leads_with_the_frame(write, form: str) -> None:
    text = f"{form.format(2)} {IDENTITY}\n{form.format(7)} {TURNED}\n"
    poses = read_kitti_poses(write(text))
    np.testing.assert_array_equal(poses.frames, [2, 7])
    assert poses.T_w_c.shape == (2, 4, 4)


def test_line_ends_byte_order_mark_and_comments_do_not_matter(write) -> None:
    poses = read_kitti_poses(write(b"\xef\xbb\xbf# mine\r\n" + KITTI.encode() + b"\r\n\r\n"))
    assert len(poses.T_w_c) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("# only a comment\n", "is empty"),
        (f"{IDENTITY}\n{IDENTITY} 0 0\n", "line 2 has 14 numbers"),
        (f"{IDENTITY}\n1 0 0 0 0 1 0 0 0 0 1\n", "line 2 has 11 numbers"),
        (f"{IDENTITY}\n1 {IDENTITY}\n", "line 2 has 13 numbers, those before have 12"),
        (f"{IDENTITY}\n\n{IDENTITY}\n", "line 2 is empty"),
        (f"{IDENTITY}\n{IDENTITY.replace('1', 'one', 1)}\n", "line 2: 'one' is no finite number"),
        (f"{IDENTITY}\n{IDENTITY.replace('1', '1_0', 1)}\n", "line 2: '1_0' is no finite number"),
        (f"{IDENTITY}\n1 0 0 nan 0 1 0 0 0 0 1 0\n", "line 2: 'nan' is no finite number"),
        (f"{IDENTITY}\n1 0 0 inf 0 1 0 0 0 0 1 0\n", "line 2: 'inf' is no finite number"),
        (f"{IDENTITY}\n2 0 0 0 0 1 0 0 0 0 1 0\n", "line 2: .* is no rotation"),
        (f"{IDENTITY}\n1.001 0 0 0 0 1 0 0 0 0 1 0\n", "line 2: .* is no rotation"),
        (f"{IDENTITY}\n1e200 0 0 0 0 1 0 0 0 0 1 0\n", "line 2: .* is no rotation"),
        (f"{IDENTITY}\n1 0 0 0 0 1 0 0 0 0 -1 0\n", "line 2: .* is a reflection"),
        (f"{IDENTITY}\n1 0 0 1e12 0 1 0 0 0 0 1 0\n", "line 2: .* more than 1e.09 m away"),
        (
            f"3 {IDENTITY}\n3 {IDENTITY}\n",
            "line 2: frames do not increase: 3 is followed by 3; .*one line for each",
        ),
        (
            f"3 {IDENTITY}\n2 {IDENTITY}\n",
            "line 2: frames do not increase: 3 is followed by 2; sort",
        ),
        (f"0.5 {IDENTITY}\n", "line 1: 0.5 is no frame index"),
        (f"-1 {IDENTITY}\n", "line 1: -1 is no frame index"),
        (f"nan {IDENTITY}\n", "line 1: 'nan' is no finite number"),
    ],
)
def test_a_damaged_kitti_file_is_named_with_its_line(write, text: str, message: str) -> None:
    path = write(text)
    with pytest.raises(InputError, match=message) as caught:
        read_kitti_poses(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert caught.value.remedy


def test_rotations_with_few_digits_are_accepted(write) -> None:
    # Four decimals leave up to 1e-4 in R^T R: rounded, not damaged.
    text = "0.8660 0.5 0 0 -0.5 0.8660 0 0 0 0 1 0\n"
    assert len(read_kitti_poses(write(text)).T_w_c) == 1


def test_binary_files_folders_and_missing_files(write, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no text file"):
        read_kitti_poses(write(b"\x89PNG\r\n\x1a\n\xff\xfe"))
    with pytest.raises(InputError, match="is a folder"):
        read_kitti_poses(tmp_path)
    with pytest.raises(InputError, match="no such file"):
        read_tum_poses(tmp_path / "none.txt")


def test_tum_quaternions_are_qx_qy_qz_qw_and_normalised(write) -> None:
    poses = read_tum_poses(write(TUM))
    np.testing.assert_array_equal(poses.timestamps, [0.5, 1.5])
    np.testing.assert_array_equal(poses.T_w_c[:, :3, 3], [[1, 2, 3], [4, 5, 6]])
    np.testing.assert_array_equal(poses.T_w_c[0, :3, :3], np.eye(3))
    # A quarter turn about y takes z to x; sqrt(1/2) was given with four decimals.
    np.testing.assert_allclose(poses.T_w_c[1, :3, :3] @ [0, 0, 1], [1, 0, 0], atol=1e-12)


def test_tum_lines_may_have_commas_and_blank_lines_between(write) -> None:
    assert len(read_tum_poses(write(TUM.replace(" ", ",").replace("\n", "\n\n"))).T_w_c) == 2


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("2 0 0 0 0 0 1", "line 2 has 7 numbers; .*qx qy qz qw"),
        ("2 0 0 0 0 0 0 x", "line 2: 'x' is no finite number"),
        ("2 0 0 nan 0 0 0 1", "line 2: 'nan' is no finite number"),
        ("2 0 0 0 0 0 0 0", "line 2: the quaternion .* has length 0"),
        ("2 0 0 0 0 0 0 1.02", "line 2: the quaternion .* has length 1.02"),
        ("2 0 0 0 0 0 0 1e300", "line 2: the quaternion .* has length"),
        ("1 0 0 0 0 0 0 1", "line 2: times do not increase: 1.000000 s is followed by 1.0"),
        ("0.5 0 0 0 0 0 0 1", "line 2: times do not increase: 1.000000 s is followed by 0.5"),
        ("2 0 0 1e10 0 0 0 1", "line 2: the position is more than 1e.09 m away"),
    ],
)
def test_a_damaged_tum_file_is_named_with_its_line(write, line: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_tum_poses(write(f"1 0 0 0 0 0 0 1\n{line}\n"))


def test_formats_are_told_apart_by_columns(write) -> None:
    assert pose_file_format(write(KITTI)) == "kitti"
    assert pose_file_format(write(f"0 {IDENTITY}")) == "kitti"
    assert pose_file_format(write(TUM)) == "tum"
    with pytest.raises(InputError, match="line 1 has 3 numbers; a KITTI file has 12 or 13"):
        pose_file_format(write("1 2 3\n"))


def test_pose_matrices_of_other_readers_are_checked() -> None:
    T_w_c = np.tile(np.eye(4), (3, 1, 1))
    check_pose_matrices(T_w_c, "folder")
    assert pose_problem(T_w_c) is None
    T_w_c[1, 3] = [0, 0, 0, 2]
    with pytest.raises(InputError, match="folder: pose 1: the last row is not 0 0 0 1"):
        check_pose_matrices(T_w_c, "folder")
    with pytest.raises(ValueError, match=r"poses must be \(N, 4, 4\), got \(3, 4\)"):
        check_pose_matrices(T_w_c[:, 0], "folder")


EDITS = st.lists(
    st.tuples(
        st.integers(0, 400),
        st.integers(0, 5),
        st.one_of(
            st.binary(max_size=6),
            st.sampled_from([b"nan", b"-", b"e", b"1e999", b" ", b"\n", b"#", b",", b"9", b"_"]),
        ),
    ),
    min_size=1,
    max_size=4,
)


def _damaged(content: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    for position, removed, inserted in edits:
        start = position % (len(content) + 1)
        content = content[:start] + inserted + content[start + removed :]
    return content


def _outcome(read, path: Path):
    try:
        return read(path)
    except InputError as error:
        return error


@pytest.mark.parametrize(
    ("original", "read"),
    [
        (KITTI * 4, read_kitti_poses),
        ("".join(f"{i} {IDENTITY}\n" for i in range(8)), read_kitti_poses),
        (TUM, read_tum_poses),
    ],
)
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(edits=EDITS)
def test_damage_is_refused_or_leaves_valid_poses(tmp_path, original, read, edits) -> None:
    path = tmp_path / "damaged.txt"
    path.write_bytes(_damaged(original.encode(), edits))
    with np.errstate(all="raise"):  # a warning of numpy would be a third outcome
        outcome = _outcome(read, path)
    if isinstance(outcome, InputError):
        assert str(path) in str(outcome)
        assert outcome.remedy
    else:
        assert len(outcome.T_w_c) >= 1
        assert pose_problem(outcome.T_w_c) is None


@pytest.mark.real_data
def test_real_files(real_data: Path) -> None:
    lengths = {"00": 4541, "01": 1101, "02": 4661, "03": 801, "04": 271, "09": 1591, "10": 1201}
    for sequence, length in lengths.items():
        poses = read_kitti_poses(real_data / "kitti_odometry/poses" / f"{sequence}.txt")
        assert poses.T_w_c.shape == (length, 4, 4)
    result = read_kitti_poses(real_data / "trajectories/example_0/09.txt")
    np.testing.assert_array_equal(result.frames, np.arange(2, 1591))
    tum = read_tum_poses(real_data / "trajectories/evo/freiburg1_xyz-groundtruth.txt")
    assert tum.T_w_c.shape == (3000, 4, 4)


def test_a_time_that_no_clock_shows_is_refused(write) -> None:
    with pytest.raises(InputError, match="line 2: time 1e\\+300 s is too large"):
        read_tum_poses(write("1 0 0 0 0 0 0 1\n1e300 0 0 0 0 0 0 1\n"))


def test_frames_are_no_times(write) -> None:
    """Their numbers may be large."""
    poses = read_kitti_poses(write(f"0 {IDENTITY}\n2000000000000 {IDENTITY}\n"))
    np.testing.assert_array_equal(poses.frames, [0, 2 * 10**12])
