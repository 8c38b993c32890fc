"""Sound inputs of every kind, small ones, and the command that takes each."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from vo.model import ModelConfig
    from vo.trajectory import Trajectory

SIZE, FRAMES = (96, 64), 8
CAMERA = "56,56,47.5,31.5"


@dataclass(frozen=True, slots=True)
class Input:
    """A kind of input.

    Attributes:
        name: of the kind.
        folder: holds the sound files, links to large ones among them.
        targets: files in it that are damaged, relative.
        program: the command, ``vo-run`` for example.
        words: its arguments; in them {in} is the folder and {out} where it writes.
        lists: of the targets, those that name what there is: with fewer lines they name less.
    """

    name: str
    folder: str
    targets: tuple[str, ...]
    program: str
    words: tuple[str, ...]
    lists: tuple[str, ...] = ()


def inputs() -> list[Input]:
    """All kinds, in folders that `build` makes."""
    images = tuple(f"{i:06d}.png" for i in range(FRAMES))
    kitti_images = tuple(f"sequences/09/image_2/{name}" for name in images)
    run = ("--ckpt", "{in}/../checkpoint/model.safetensors", "--out", "{out}/run")
    drive = ("--data", "{in}", *run)
    found = []
    for name, targets in (
        ("image", kitti_images),
        ("calibration", ("sequences/09/calib.txt",)),
        ("times", ("sequences/09/times.txt",)),
        ("poses", ("poses/09.txt",)),
    ):
        found.append(Input(f"KITTI {name}", "kitti", targets, "vo-run", ("--seq", "09", *drive)))
        found.append(Input(f"KITTI {name}", "kitti", targets, "vo-data", ("check", "{in}")))
    lens = ("--intrinsics", CAMERA)
    lists = ("rgb.txt", "groundtruth.txt", "camera.yaml")
    trajectory = ("trajectory", "--gt", "{in}/gt.txt", "--est", "{in}/est.txt")
    convert = ("import", "{in}", "--from", "monodepth2", "--out", "{out}/own.safetensors")
    weights = ("encoder.pth", "depth.pth", "pose_encoder.pth", "pose.pth")
    return [
        *found,
        Input("folder of images", "images", (*images, "times.txt"), "vo-run", (*drive, *lens)),
        Input("camera file", "lens", ("camera.yaml",), "vo-run", drive),
        Input("video", "video", ("drive.mp4",), "vo-run",
              ("--data", "{in}/drive.mp4", *run, *lens)),
        Input("TUM lists", "tum", lists, "vo-run", drive, ("rgb.txt",)),
        Input("TUM lists", "tum", lists, "vo-data", ("check", "{in}"), ("rgb.txt",)),
        Input("TUM image", "tum", tuple(f"rgb/{name}" for name in images), "vo-run", drive),
        Input("checkpoint", "checkpoint", ("model.safetensors",), "vo-run",
              ("--seq", "09", "--data", "{in}/../kitti", "--ckpt", "{in}/model.safetensors",
               "--out", "{out}/run")),
        Input("checkpoint", "checkpoint", ("model.safetensors",), "vo-convert",
              ("info", "{in}/model.safetensors", "--json")),
        Input("trajectory (KITTI)", "paths", ("gt.txt", "est.txt"), "vo-eval", trajectory),
        Input("trajectory (TUM)", "paths_tum", ("gt.txt", "est.txt"), "vo-eval", trajectory),
        Input("settings", "settings", ("config.yaml",), "vo-train",
              ("--resume", "--out", "{in}")),
        Input("published weights", "weights", weights, "vo-convert", convert),
    ]  # fmt: skip


def build(root: Path, folder: str) -> None:
    """Write a folder of `inputs` below ``root``, and the two that others are made of."""
    for name in ("checkpoint", "kitti", folder):
        if not (root / name).exists():
            (root / name).mkdir()
            _BUILDERS[name](root / name)


def _images(folder: Path) -> None:
    _copy_images(folder)
    (folder / "times.txt").write_text("\n".join(_times()) + "\n")


def _lens(folder: Path) -> None:
    fx, fy, cx, cy = CAMERA.split(",")
    camera = f"width: {SIZE[0]}\nheight: {SIZE[1]}\nfx: {fx}\nfy: {fy}\ncx: {cx}\ncy: {cy}\n"
    _copy_images(folder)
    (folder / "camera.yaml").write_text(camera)


def _tum(folder: Path) -> None:
    _lens(folder)
    (folder / "rgb").mkdir()
    images = sorted(folder.glob("*.png"))
    for image in images:
        image.rename(folder / "rgb" / image.name)
    pairs = zip(_times(), images, strict=True)
    (folder / "rgb.txt").write_text("".join(f"{t} rgb/{p.name}\n" for t, p in pairs))
    _truth(folder).write_tum(folder / "groundtruth.txt")


def _times() -> list[str]:
    return [f"{0.1 * i:.6f}" for i in range(FRAMES)]


def _copy_images(folder: Path) -> None:
    for path in (folder.parent / "kitti/sequences/09/image_2").iterdir():
        shutil.copy(path, folder)


def _tiny() -> ModelConfig:
    from vo.depth.encoder import EncoderConfig
    from vo.depth.feature_net import FeatureConfig
    from vo.depth.net import DepthConfig
    from vo.model import ModelConfig
    from vo.pose_net import PoseConfig
    from vo.refine import RefineConfig

    small = EncoderConfig("regnetx_002")
    return ModelConfig(
        *SIZE,
        depth=DepthConfig(small, (8, 8, 8, 16, 16), scales=1, min_depth=1.0, max_depth=100.0),
        pose=PoseConfig(EncoderConfig("regnetx_002", in_channels=6), hidden=8, motions=1),
        features=FeatureConfig(source="grey", levels=2),
        refine=RefineConfig(iterations=(3, 3), num_points=500),
    )


def _checkpoint(folder: Path) -> None:
    import torch

    from vo.checkpoint import Card, save_checkpoint
    from vo.model import Model

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Model(_tiny())
    card = Card("tiny", "street", "none", (), "", 0, "", "Apache-2.0", metric=False)
    save_checkpoint(folder / "model.safetensors", model, card)


def _kitti(folder: Path) -> None:
    """A street without what only the street has."""
    from vo.datasets.street import render_street

    street, drive = folder / "street", folder / "sequences/09"
    render_street(street, ["09"], SIZE, FRAMES, workers=1)
    drive.mkdir(parents=True)
    for name in ("calib.txt", "times.txt"):
        shutil.copy(street / "sequences/09" / name, drive)
    shutil.copytree(street / "sequences/09/image_2", drive / "image_2")
    shutil.copytree(street / "poses", folder / "poses")
    shutil.rmtree(street)


def _video(folder: Path) -> None:
    import av

    from vo.datasets.images import read_image

    images = sorted((folder.parent / "kitti/sequences/09/image_2").iterdir())
    with av.open(str(folder / "drive.mp4"), "w") as file:
        stream = file.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for image in images:
            pixels = read_image(image)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        file.mux(stream.encode())


def _truth(folder: Path) -> Trajectory:
    from vo.trajectory import Trajectory

    return Trajectory.read(folder.parent / "kitti/poses/09.txt").rebased()


def _training(folder: Path) -> None:
    """The drive twice, to learn from and to validate on."""
    shutil.copytree(folder.parent / "kitti", folder, dirs_exist_ok=True)
    shutil.copytree(folder / "sequences/09", folder / "sequences/10")
    shutil.copy(folder / "poses/09.txt", folder / "poses/10.txt")


def _paths(folder: Path) -> None:
    """The poses of the drive, and the same a little off."""
    for name, trajectory in _pair(folder).items():
        trajectory.write_kitti(folder / f"{name}.txt")


def _paths_tum(folder: Path) -> None:
    for name, trajectory in _pair(folder).items():
        trajectory.write_tum(folder / f"{name}.txt")


def _pair(folder: Path) -> dict[str, Trajectory]:
    truth = _truth(folder)
    off = truth.T_w_c.copy()
    off[:, :3, 3] *= 1.02
    off[:, 0, 3] += 0.01 * np.sin(np.arange(len(off)))
    return {"gt": truth, "est": replace(truth, T_w_c=off)}


def _settings(folder: Path) -> None:
    from vo.presets import preset
    from vo.settings import write_yaml

    write_yaml(preset("street"), folder / "config.yaml")


def _weights(folder: Path) -> None:
    """What monodepth2 would have saved."""
    import torch

    from vo.model import Model, with_first_weights
    from vo.presets import preset
    from vo.published.exporting import export_model
    from vo.published.files import write_folder

    folder.rmdir()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Model(with_first_weights(preset("monodepth2-r18").model, pretrained=False))
    write_folder(folder, export_model(model, "monodepth2", False, folder))


_BUILDERS = {
    "checkpoint": _checkpoint,
    "kitti": _kitti,
    "images": _images,
    "lens": _lens,
    "tum": _tum,
    "video": _video,
    "paths": _paths,
    "paths_tum": _paths_tum,
    "settings": _settings,
    "training": _training,
    "weights": _weights,
}


def copied(source: Path, target: Path, damaged: str) -> None:
    """A copy of a folder in which only the file to be damaged is one, and the others are links."""

    def copy(path: str, new: str) -> None:
        is_target = Path(path).relative_to(source).as_posix() == damaged
        if is_target or Path(path).suffix != ".pth":
            shutil.copy(path, new)
        else:
            Path(new).symlink_to(path)

    shutil.copytree(source, target, copy_function=copy)


def program(name: str) -> Callable[[], None]:
    """The entry point of a command; of vo-train what it reads before it trains."""
    from vo.tools import convert, data, evaluate, run

    mains = {
        "vo-run": run.main,
        "vo-data": data.main,
        "vo-convert": convert.main,
        "vo-eval": evaluate.main,
        "vo-train": _read_settings,
    }
    return mains[name]


def _read_settings() -> None:
    import sys

    from vo.tools.console import run
    from vo.tools.train import parse

    run(lambda: print(parse(sys.argv[1:])[1]))
