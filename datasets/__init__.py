"""From files to pixels: readers of drives, and the street that is rendered where there are none."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vo.datasets.frame import Sequence
    from vo.datasets.layout import Found
    from vo.datasets.recording import Recording

CONSTANT = "monodepth2"  # in place of intrinsics: the camera of published trainings on KITTI


def open_sequence(
    data: str | Path | None,
    seq: str | None = None,
    *,
    size: tuple[int, int] | None = None,
    intrinsics: str | None = None,
    camera: str | None = None,
    stride: int = 1,
    start: int = 0,
    end: int | None = None,
    fps: float | None = None,
) -> Sequence:
    """Open a drive, whatever it is stored as. Reads no pixels but those of the first image.

    Args:
        data: a folder in the layout of KITTI Odometry, KITTI raw, TUM RGB-D, 7-Scenes, Cityscapes
            or NYU's raw data, a folder of images, a video file, or a folder with several of one of
            these; None is the street, which is rendered where it is not yet there.
        seq: name of the sequence, for example ``09`` or ``2011_09_26_drive_0052_sync``, which
            ``0052`` stands for where no other drive has that number; None where there is only one.
        size: (width, height) that images, depth and camera are resized to; None leaves them.
        intrinsics: ``fx,fy,cx,cy[,width,height]`` or the path of a camera file, in pixels; four
            numbers belong to the images as they lie on disk. ``monodepth2``, for KITTI, is the
            constant camera that published trainings take for every drive.
        camera: ``image_0`` to ``image_3`` of KITTI Odometry, ``image_00`` to ``image_03`` of KITTI
            raw; None is the left colour camera, or the first that is there.
        stride: step between frames.
        start: first frame, from 0.
        end: frame after the last one; None is the length.
        fps: images a second of a folder of images without ``times.txt``; None is 10.

    Raises:
        InputError: when the data are missing, damaged or not recognised, when the sequence is
            unknown (the message lists those that exist), and when a flag does not suit them.
    """
    from vo.datasets.sequence import resize, select

    if data is None:
        sequence = _open_street(seq, size, intrinsics, camera, fps)
    else:
        from vo.datasets.layout import recognise

        sequence = open_found(recognise(data), seq, intrinsics, camera, fps)
    sequence = select(sequence, start, end, stride)
    return sequence if size is None else resize(sequence, *size)


def open_found(
    found: Found,
    seq: str | None,
    intrinsics: str | None = None,
    camera: str | None = None,
    fps: float | None = None,
) -> Sequence:
    """A whole sequence of a folder that was recognised once; arguments are as in `open_sequence`.

    Raises:
        InputError: as `open_sequence`.
    """
    name, place = found.choose(seq)
    is_kitti = found.kind in ("kitti", "kitti_raw")
    _refuse_flags(found, intrinsics, camera, fps, has_constant=is_kitti)
    if found.kind == "kitti":
        from vo.datasets.kitti_odometry import open_kitti_odometry

        return _with_constant_camera(open_kitti_odometry(place, camera), intrinsics)
    if found.kind == "kitti_raw":
        from vo.datasets.kitti_raw import open_kitti_raw

        return _with_constant_camera(open_kitti_raw(place, camera), intrinsics)
    if found.kind == "tum":
        from vo.datasets.tum import open_tum

        return open_tum(place, intrinsics)
    if found.kind == "7scenes":
        from vo.datasets.seven_scenes import open_seven_scenes

        return open_seven_scenes(place, name, intrinsics)
    if found.kind == "cityscapes":
        from vo.datasets.cityscapes_video import open_cityscapes_video

        return open_cityscapes_video(place)
    if found.kind == "triplets":
        from vo.datasets.wide_triplets import open_wide_triplet

        return open_wide_triplet(place)
    if found.kind == "nyu":
        from vo.datasets.nyu_video import open_nyu_video

        return open_nyu_video(place, name, intrinsics)
    if found.kind == "video":
        from vo.datasets.video import open_video

        return open_video(place, intrinsics)
    from vo.datasets.folder import open_folder

    return open_folder(place, intrinsics, fps)


def list_sequences(data: str | Path | None) -> list[str]:
    """Names of the sequences in a data folder or, for None, of the street.

    Raises:
        InputError: when there is nothing that can be read.
    """
    if data is None:
        from vo.datasets.street import STREET_SEQUENCES

        return list(STREET_SEQUENCES)
    from vo.datasets.layout import recognise

    return list(recognise(data).sequences)


def _open_street(
    seq: str | None,
    size: tuple[int, int] | None,
    intrinsics: str | None,
    camera: str | None,
    fps: float | None,
) -> Sequence:
    from vo.datasets.kitti_odometry import find_sequences, open_kitti_odometry
    from vo.datasets.layout import Found
    from vo.datasets.street import DEFAULT_SIZE, STREET_SEQUENCES, street_root

    asked = Found(Path("street"), "kitti", {name: Path(name) for name in STREET_SEQUENCES})
    name, _ = asked.choose(seq)
    _refuse_flags(asked, intrinsics, camera, fps, has_constant=False)
    width, height = size or DEFAULT_SIZE
    root = street_root(name, width, height)
    return open_kitti_odometry(find_sequences(root)[name])


def _with_constant_camera(recording: Recording, intrinsics: str | None) -> Recording:
    """KITTI with the camera of published trainings, where that is asked for by its name."""
    import dataclasses

    from vo.datasets.camera import Camera

    if intrinsics is None:
        return recording
    camera = Camera.constant_kitti(*recording.camera.size)
    return dataclasses.replace(recording, camera=camera)


def _refuse_flags(
    found: Found, intrinsics: str | None, camera: str | None, fps: float | None, has_constant: bool
) -> None:
    """A flag that would have no effect is a misunderstanding; `CONSTANT` has one for real KITTI."""
    from vo.datasets.errors import InputError

    calibration = {
        "kitti": "calib.txt",
        "kitti_raw": "calib_cam_to_cam.txt",
        "cityscapes": "_camera.json",
        "triplets": "_cam.txt",
    }.get(found.kind)
    if camera is not None and found.kind not in ("kitti", "kitti_raw"):
        raise InputError("--camera", f"{found.data} has a single camera", "leave the flag out")
    if intrinsics is not None and calibration and not (has_constant and intrinsics == CONSTANT):
        problem = f"{found.data} has its own calibration"
        or_else = f", or give {CONSTANT}" if has_constant else ""
        remedy = f"leave the flag out, or edit its {calibration}{or_else}"
        raise InputError("--intrinsics", problem, remedy)
    if fps is not None and found.kind != "images":
        raise InputError("--fps", f"{found.data} has its own times", "leave the flag out")
