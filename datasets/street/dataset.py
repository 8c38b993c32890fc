"""The street on disk, in KITTI Odometry's layout: complete, or not there at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from filelock import FileLock
from platformdirs import user_cache_path

from vo.datasets.camera import Array, Camera
from vo.datasets.errors import InputError
from vo.datasets.plain_json import read_object
from vo.datasets.street.drive import FRAME_S
from vo.datasets.street.recipe import (
    DEFAULT_SIZE,
    STREET_SEQUENCES,
    default_frames,
    street_camera,
    street_poses,
    write_frames,
)

Progress = Callable[[str, int, int], None]  # sequence, frames written, frames in all

FACTS_FILE, MOST_BYTES = "street.json", 1024 * 1024
BASELINE_M = 0.54  # calib.txt names a right camera as KITTI does; its images are not drawn


def cache_folder() -> Path:
    """Where rendered streets are kept: ``$VO_CACHE``, or the user's cache folder."""
    named = os.environ.get("VO_CACHE")
    return Path(named) if named else user_cache_path("scale-aligned-vo")


def street_root(
    seq: str | None = None,
    width: int = DEFAULT_SIZE[0],
    height: int = DEFAULT_SIZE[1],
    workers: int | None = None,
    progress: Progress | None = None,
) -> Path:
    """Folder in KITTI Odometry's layout with the sequence (None: all), rendered if it is missing.

    Raises:
        InputError: for an unknown sequence, or where the cache cannot be written.
    """
    # The name follows from the code that draws, so an old street is never taken for a new one.
    root = cache_folder() / f"street-{width}x{height}-{_recipe_hash()}"
    render_street(root, None if seq is None else [seq], (width, height), None, workers, progress)
    return root


def render_street(
    root: Path,
    sequences: Iterable[str] | None = None,
    size: tuple[int, int] = DEFAULT_SIZE,
    frames: int | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> None:
    """Render those of ``sequences`` (None: all) that are missing under ``root``.

    Args:
        root: folder that receives ``sequences/NN`` and ``poses/NN.txt``.
        sequences: names from ``00`` to ``10``.
        size: (width, height) of the images in pixels.
        frames: length of every sequence; None for its own.
        workers: processes that draw; None for one a core.
        progress: told after every frame.

    Raises:
        InputError: for an unknown sequence or size, or where a sequence of other length or size
            lies already.
        OSError: where the folder cannot be written; nothing half-written stays.
    """
    names = list(STREET_SEQUENCES) if sequences is None else list(sequences)
    _check_request(names, size, frames)
    workers = workers or len(os.sched_getaffinity(0))
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        remedy = "set VO_CACHE to a folder that can be written, or choose another with --out"
        raise InputError(root, f"cannot be created ({error.strerror})", remedy) from None
    for seq in names:
        _render_sequence(root, seq, size, frames or default_frames(seq), workers, progress)


def _check_request(names: list[str], size: tuple[int, int], frames: int | None) -> None:
    for seq in names:
        if seq not in STREET_SEQUENCES:
            known = f"the street has {STREET_SEQUENCES[0]} to {STREET_SEQUENCES[-1]}"
            raise InputError("--seq", f"there is no sequence {seq!r}", known)
    if min(size) < 16 or max(size) > 8192:
        raise InputError(
            "--size", f"cannot draw {size[0]}x{size[1]}", "choose 16 to 8192 pixels a side"
        )
    if frames is not None and not 2 <= frames <= 100_000:
        raise InputError("--frames", f"cannot draw {frames} frames", "choose from 2 to 100000")


def _render_sequence(
    root: Path,
    seq: str,
    size: tuple[int, int],
    frames: int,
    workers: int,
    progress: Progress | None,
) -> None:
    """Draw one sequence beside its place and rename it into place when it is whole."""
    final = root / "sequences" / seq
    if final.exists() and _is_as_asked(final, size, frames):
        return
    with FileLock(root / f".{seq}.lock"):
        if final.exists() and _is_as_asked(final, size, frames):
            return  # another process was faster
        for left_behind in root.glob(f".partial-{seq}-*"):
            shutil.rmtree(left_behind)  # its process was killed: nobody else holds the lock
        partial = Path(tempfile.mkdtemp(prefix=f".partial-{seq}-", dir=root))
        try:
            _draw(partial, seq, size, frames, workers, progress)
            _put_in_place(partial, root, seq)
        except OSError as error:
            # The partial folder is gone when the message is read: name the one that stays.
            raise OSError(error.errno, error.strerror, str(root)) from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _is_as_asked(folder: Path, size: tuple[int, int], frames: int) -> bool:
    """True where the sequence that lies there is the one; an error where it is another."""
    try:
        found = read_object(folder / FACTS_FILE, MOST_BYTES, "the facts of a street")
    except (InputError, OSError):
        found = {}
    if [found.get("width"), found.get("height"), found.get("frames")] == [*size, frames]:
        return True
    what = (
        f"{found.get('frames')} frames of {found.get('width')}x{found.get('height')}"
        if found
        else "other data"
    )
    raise InputError(folder, f"holds {what} already", "choose another folder or remove this one")


def _draw(
    folder: Path,
    seq: str,
    size: tuple[int, int],
    frames: int,
    workers: int,
    progress: Progress | None,
) -> None:
    """Everything of one sequence: text files here, frames by ``workers`` processes."""
    for name in ("image_2", "depth", "moving"):
        (folder / name).mkdir()
    lock, count = threading.Lock(), 0

    def done() -> None:
        nonlocal count
        with lock:
            count += 1
            if progress is not None:
                progress(seq, count, frames)

    workers = min(workers, max(1, frames // 16))  # each builds the world first
    if workers == 1:
        write_frames(folder, seq, size, range(frames), done)
    else:
        jobs = [
            {
                "folder": str(folder),
                "seq": seq,
                "size": size,
                "first": k,
                "stop": frames,
                "step": workers,
            }
            for k in range(workers)
        ]
        _run_workers(jobs, done)
    _write_texts(folder, seq, size, frames)


def _run_workers(jobs: list[dict[str, object]], done: Callable[[], None]) -> None:
    """Run the worker processes and follow them; all of them end with the first failure."""
    command = [sys.executable, "-P", "-m", "vo.datasets.street.worker"]
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    processes = [
        subprocess.Popen(
            [*command, json.dumps(job)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **one_thread},
        )
        for job in jobs
    ]
    try:
        with ThreadPoolExecutor(len(processes)) as pool:
            try:
                for future in [pool.submit(_follow, process, done) for process in processes]:
                    future.result()
            finally:
                for process in processes:
                    process.kill()  # so that the threads above see the end of their pipes
    finally:
        for process in processes:
            process.wait()


def _follow(process: subprocess.Popen[str], done: Callable[[], None]) -> None:
    assert process.stdout is not None
    trouble = None
    for line in process.stdout:
        if line == "done\n":
            done()
        else:
            trouble = line
    if process.wait() != 0:
        with contextlib.suppress(ValueError, TypeError):
            raise OSError(*json.loads(trouble or ""))
        raise RuntimeError(f"a process that drew the street ended with status {process.returncode}")


def _write_texts(folder: Path, seq: str, size: tuple[int, int], frames: int) -> None:
    """calib.txt, times.txt, and what was drawn."""
    camera = street_camera(*size)
    (folder / "calib.txt").write_text(_calibration(camera))
    times = "".join(f"{index * FRAME_S:e}\n" for index in range(frames))
    (folder / "times.txt").write_text(times)
    facts = {
        "sequence": seq,
        "frames": frames,
        "width": size[0],
        "height": size[1],
        "recipe": _recipe_hash(),
    }
    (folder / FACTS_FILE).write_text(json.dumps(facts, indent=1) + "\n")
    T_z_c = street_poses(seq, frames)
    T_w_c = np.linalg.inv(T_z_c[0]) @ T_z_c  # the world of the files is the first camera
    T_w_c[0] = np.eye(4)  # without rounding errors
    lines = "".join(_numbers(T[:3]) + "\n" for T in T_w_c)
    (folder / "poses.txt").write_text(lines)


def _calibration(camera: Camera) -> str:
    """P0 to P3 and Tr as KITTI writes them; 1 and 3 are the right cameras of the two pairs."""
    lines = []
    for index in range(4):
        P = np.zeros((3, 4))
        P[:, :3] = camera.K
        P[0, 3] = -camera.fx * BASELINE_M if index % 2 else 0.0
        lines.append(f"P{index}: " + _numbers(P))
    lines.append("Tr: " + _numbers(np.eye(4)[:3]))
    return "\n".join(lines) + "\n"


def _numbers(matrix: Array) -> str:
    return " ".join(f"{value:.12e}" for value in matrix.ravel())


def _put_in_place(partial: Path, root: Path, seq: str) -> None:
    """Poses first: the sequence folder says that all is there."""
    for name in ("poses", "sequences"):
        (root / name).mkdir(exist_ok=True)
    os.replace(partial / "poses.txt", root / "poses" / f"{seq}.txt")
    partial.chmod(0o755)  # mkdtemp's folders are private
    os.rename(partial, root / "sequences" / seq)


def _recipe_hash() -> str:
    """Eight letters that change with the code of the street."""
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:8]
