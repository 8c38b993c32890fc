"""What ``vo-train`` learns metric depth from: the drives with true depth that the flags choose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from vo.datasets.errors import InputError
from vo.tools.training.lists import LIST_SUFFIX

if TYPE_CHECKING:
    from vo.datasets.annotated import AnnotatedData
    from vo.datasets.frame import Sequence
    from vo.datasets.recording import Recording
    from vo.tools.training.flags import Flags
    from vo.training.config import MetricConfig, TrainConfig

    Drives = list[Sequence]


def annotated_drives(
    flags: Flags, config: TrainConfig, warn: Callable[[str], None]
) -> tuple[Drives, Drives]:
    """Sequences with true depth to train and to validate on, cropped as the settings say.

    Names are drives, scenes or files with lists of frames; without any, everything is trained on
    that is not validated on, but for KITTI's own ``val``.

    Raises:
        InputError: when something is missing, damaged, or trained and validated on at once.
    """
    from vo.datasets.annotated import find_annotated, open_annotated
    from vo.datasets.sequence import select

    if flags.data is None:
        raise InputError("--data", "is missing", "name the root of KITTI raw or of NYU's scenes")
    if flags.intrinsics is not None:
        raise InputError("--intrinsics", "is not used with true depth", "leave the flag out")
    found = _of_camera(find_annotated(flags.data, flags.annotations), flags.camera)
    if found.lacking:
        names = ", ".join(found.lacking[:3]) + (", ..." if len(found.lacking) > 3 else "")
        warn(f"{len(found.lacking)} drives with true depth have no images: {names}")
    held_out = _named(found, flags.val, warn)
    if flags.seq:
        train = _named(found, flags.seq, warn)
    else:
        taken = {_drive_of(recording) for recording in held_out}
        train = [open_annotated(p) for p in found.to_train_on() if p.drive not in taken]
    _refuse_leaks(train, held_out)
    if not train:
        raise InputError("--seq", "nothing is left to train on", "name drives to train on")
    ours, theirs = _cropped(train, config.metric), _cropped(held_out, config.metric)
    _check_score_crop(theirs, config.metric)
    if config.validate_frames:
        theirs = [select(d, end=min(config.validate_frames, len(d))) for d in theirs]
    return ours, theirs


def _of_camera(found: AnnotatedData, camera: str | None) -> AnnotatedData:
    """The places of one camera; all of them where none is asked for."""
    if camera is None:
        return found
    places = tuple(place for place in found.places if place.camera == camera)
    if not places:
        there = sorted({place.camera for place in found.places} - {""})
        remedy = f"choose from {', '.join(there)}" if there else "leave the flag out"
        raise InputError("--camera", f"no true depth is that of {camera!r}", remedy)
    return replace(found, places=places)


def _named(
    found: AnnotatedData, names: tuple[str, ...], warn: Callable[[str], None]
) -> list[Recording]:
    from vo.datasets.annotated import open_annotated, open_listed, read_frame_list

    recordings: dict[str, Recording] = {}
    for name in names:
        if name.endswith(LIST_SUFFIX):
            frames = read_frame_list(Path(name))
            if frames.without_depth:
                warn(f"{name}: {frames.without_depth} lines without a depth are left out")
            chosen = open_listed(found, frames)
        else:
            chosen = [open_annotated(place) for place in found.of_drive(name)]
        for recording in chosen:
            if recording.name in recordings:
                raise InputError("--seq", f"{recording.name} is named twice", "name it once")
            recordings[recording.name] = recording
    return list(recordings.values())


def _drive_of(recording: Recording) -> str:
    """Both cameras of a drive see the same: they go together."""
    return recording.name.partition("/")[0]


def _refuse_leaks(train: list[Recording], held_out: list[Recording]) -> None:
    both = {_drive_of(r) for r in train} & {_drive_of(r) for r in held_out}
    if both:
        problem = f"{', '.join(sorted(both)[:3])} is trained on as well"
        raise InputError("--val", problem, "validate on a drive of its own")


def _cropped(recordings: list[Recording], config: MetricConfig) -> Drives:
    from vo.datasets.crop import crop_to_bottom

    if config.crop == "none":
        return list(recordings)
    return [crop_to_bottom(recording) for recording in recordings]


def _check_score_crop(held_out: Drives, config: MetricConfig) -> None:
    """Refuse a crop in pixels of another size now, rather than at the first validation."""
    from vo.depth_scores import crop_of

    for drive in held_out:
        width, height = drive.camera.size
        try:
            crop_of(config.score_crop, height, width)
        except ValueError as error:
            remedy = "choose garg, eigen or none"
            raise InputError("--metric.score-crop", f"{drive.name}: {error}", remedy) from None
