"""``vo-convert``: published weights to checkpoints and back, networks for other programs, and what
is in a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, get_args

import tyro

from vo.datasets.errors import InputError
from vo.published import Layout
from vo.tools.console import console, run, warn
from vo.tools.converting.import_flags import ImportFlags
from vo.tools.converting.prune_flags import PruneFlags

if TYPE_CHECKING:
    from vo.model import Model

MONODEPTH2_RANGE = (0.1, 100.0)
Weights = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
Checkpoint = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
NewFolder = Annotated[Path, tyro.conf.arg(metavar="FOLDER")]
ImageSize = Annotated[tuple[int, int] | None, tyro.conf.arg(metavar="W H")]
GraphPart = Literal["depth", "pose", "features", "energy"]

app = tyro.extras.SubcommandApp()


def main() -> None:
    """Entry point of ``vo-convert``."""
    about = "Read published weights, write them, and look into checkpoints."
    run(lambda: app.cli(prog="vo-convert", description=about))


@app.command(name="import")
def import_weights(flags: Annotated[ImportFlags, tyro.conf.arg(name="")]) -> None:
    """Make a checkpoint of weights that monodepth2, SQLdepth or SPIdepth have saved.

    The networks follow from the shapes in the files, in which nothing is run. Published weights
    have no features for the refinement: grey values take their place, so that vo-run refines at
    once.

    Example: vo-convert import --from spidepth weights --depth-range 0.001 80 --out own.safetensors
    """
    from vo.checkpoint import save_checkpoint
    from vo.published.files import read_finetuned, read_folder
    from vo.published.importing import Untold, import_model
    from vo.tools.converting.imported import imported_card, pose_note

    _check_out(flags.out, flags.overwrite)
    if flags.depth_range is None and flags.source != "monodepth2":
        problem = "is missing: the weights do not tell it"
        raise InputError("--depth-range", problem, "give that of the training: 0.001 80 on KITTI")
    low, high = flags.depth_range or MONODEPTH2_RANGE
    untold = Untold(low, high, flags.heads, flags.size, flags.scale, flags.pose_scale)
    read = read_finetuned if flags.source == "spidepth-finetuned" else read_folder
    tables = read(flags.folder, flags.pose)
    model = import_model(tables, flags.source, untold)
    notes = pose_note(flags, model.config)
    save_checkpoint(flags.out, model, imported_card(flags, tables, notes))
    if notes:
        warn(notes)
    _say_what_was_read(flags, model)


@app.command(name="export")
def export_weights(
    ckpt: Checkpoint,
    folder: Weights,
    to: Layout,
) -> None:
    """Write a checkpoint as the folder that the programs of monodepth2, SQLdepth or SPIdepth load.

    What they would build otherwise than it is here is refused with every reason.

    Example: vo-convert export model.safetensors weights --to monodepth2

    Args:
        ckpt: checkpoint file, or the name of one that is installed.
        folder: to write to, new or empty.
        to: the system whose folder it shall be. SQLdepth has the small pose network, SPIdepth one
            on a ResNet-18.
    """
    from vo.checkpoint import load_checkpoint
    from vo.published.exporting import export_model, published_range
    from vo.published.files import demand_free_folder, write_folder

    demand_free_folder(folder)
    checkpoint = load_checkpoint(ckpt)
    use_stereo = "S" in checkpoint.card.supervision
    files = export_model(checkpoint.model, to, use_stereo, checkpoint.path)
    write_folder(folder, files)
    low, high, unit = published_range(checkpoint.model.config)
    there = f"--min_depth {low:g} --max_depth {high:g}"
    length = "" if unit == 1 else f"; one unit of length there is {unit:g} here"
    _print(f"wrote {', '.join(files)} to {folder}")
    _print(f"not in it: features, refinement, card, and depth range (give {there}{length})")


@app.command(name="prune")
def prune_checkpoint(flags: Annotated[PruneFlags, tyro.conf.arg(name="")]) -> None:
    """Make a checkpoint smaller: fewer channels at one level of its depth decoder.

    The channels that the next layers need least are left out, and those layers are fitted, by least
    squares on real images, to what they gave before. Nothing is trained.

    Example: vo-convert prune big.safetensors --channels 64 --seq 00 01 --out small.safetensors
    """
    from vo.tools.converting.prune import prune

    _check_out(flags.out, flags.overwrite)
    first, second = prune(flags)
    _print(f"wrote {flags.out}, {flags.out.stat().st_size:,} bytes")
    _print(f"the layers fitted anew miss {first:.3%} and {second:.3%} of their variance")


@app.command(name="onnx")
def write_onnx(
    ckpt: Checkpoint,
    out: NewFolder,
    size: ImageSize = None,
    parts: tuple[GraphPart, ...] = get_args(GraphPart),
) -> None:
    """Write a checkpoint's networks as ONNX, for programs without PyTorch or this package.

    depth.onnx, pose.onnx, features.onnx and, of the refinement, the normal equations of each level
    (energy_8.onnx ...). Any number of images, of one size. Each file is run by ONNX Runtime and
    compared with PyTorch; nothing is written when one of them differs by more than 0.001.

    Example: vo-convert onnx street.safetensors --out street-onnx

    Args:
        ckpt: checkpoint file, or the name of one that is installed.
        out: folder to write to, new or empty.
        size: width and height of the images; those of the checkpoint when not given.
        parts: which of them to write.
    """
    _write_graphs(ckpt, out, size, parts, "onnx")


@app.command(name="torch-export")
def write_torch_export(
    ckpt: Checkpoint,
    out: NewFolder,
    size: ImageSize = None,
    parts: tuple[GraphPart, ...] = get_args(GraphPart),
) -> None:
    """Write a checkpoint's networks for torch.export.load, which needs PyTorch and nothing else.

    As vo-convert onnx: depth.pt2, pose.pt2 and so on.

    Example: vo-convert torch-export street.safetensors --out street-pt2

    Args:
        ckpt: checkpoint file, or the name of one that is installed.
        out: folder to write to, new or empty.
        size: width and height of the images; those of the checkpoint when not given.
        parts: which of them to write.
    """
    _write_graphs(ckpt, out, size, parts, "pt2")


@app.command
def info(ckpt: Checkpoint, json: bool = False) -> None:
    """Show what is in a checkpoint: its networks, and what its card says of it.

    Example: vo-convert info street.safetensors

    Args:
        ckpt: checkpoint file, or the name of one that is installed.
        json: print all of it as JSON.
    """
    from vo.checkpoint import load_checkpoint
    from vo.tools.converting.info import as_json, as_lines

    checkpoint = load_checkpoint(ckpt)
    if json:
        print(as_json(checkpoint))
        return
    for line in as_lines(checkpoint):
        _print(line)


def _write_graphs(
    ckpt: str,
    out: Path,
    size: tuple[int, int] | None,
    parts: tuple[GraphPart, ...],
    format: Literal["onnx", "pt2"],
) -> None:
    from vo.tools.converting.graphs import write_graphs

    written = write_graphs(ckpt, out, size, parts, format)
    width = max(len(each.file) for each in written)
    for each in written:
        arrow = f"{', '.join(each.graph.inputs)} -> {', '.join(each.graph.outputs)}"
        size_mb = f"{each.size / 1e6:.1f} MB"
        off = f"off PyTorch by {each.difference:.0e}"
        checked = off if each.difference else "as PyTorch to the last digit"
        _print(f"{each.file:<{width}}  {size_mb:>9}, {checked}: {arrow}")
    _print(f"wrote {len(written)} files to {out}, each checked on photograph-like images and noise")


def _check_out(out: Path, overwrite: bool) -> None:
    """Refuse, before any work, a file that cannot be written."""
    if out.is_dir():
        raise InputError(out, "is a folder", "give --out the name of a file")
    if out.exists() and not overwrite:
        raise InputError(out, "exists", "choose another --out, or add --overwrite")
    if not out.absolute().parent.is_dir():
        raise InputError(out, f"there is no folder {out.parent}", "create it first")


def _say_what_was_read(flags: ImportFlags, model: Model) -> None:
    from vo.tools.converting.info import network_words

    depth, pose, _ = network_words(model)
    config = model.config
    bounds = f"{config.depth.min_depth:g} to {config.depth.max_depth:g}"
    _print(f"depth: {depth}, {config.width}x{config.height}, {bounds}")
    _print(f"pose: {pose}; features: grey values, for there are none among published weights")
    _print(f"try it: vo-run --ckpt {flags.out}")


def _print(text: str) -> None:
    console.print(text, soft_wrap=True, markup=False)


if __name__ == "__main__":
    main()
