"""What the card of a checkpoint of published weights says of them."""

from __future__ import annotations

from vo.checkpoint import Card
from vo.model import ModelConfig
from vo.pose_net import PoseConfig
from vo.published.files import Table, file_hash
from vo.tools.converting.import_flags import ImportFlags


def pose_note(flags: ImportFlags, config: ModelConfig) -> str:
    """What is lost of a pose network that was trained on one camera."""
    is_scaled_by_depth = not (
        isinstance(config.pose, PoseConfig) and config.pose.encoder.normalisation == "monodepth2"
    )
    if flags.supervision != "M" or not is_scaled_by_depth:
        return ""
    return (
        "trained on one camera, this pose network had its translations multiplied by the mean "
        "inverse depth; they are not here: raw poses have a scale of their own, refined ones that "
        "of the depth"
    )


def imported_card(flags: ImportFlags, tables: dict[str, Table], notes: str) -> Card:
    """The card, with the hashes of all files that were read.

    Args:
        flags: of the command.
        tables: of weights, by what they are of.
        notes: on the pose network, or an empty string.
    """
    paths = sorted({table.path for table in tables.values()})
    hashes = ", ".join(f"{path.name} (sha256 {file_hash(path)})" for path in paths)
    read = f"imported from {flags.source} weights {hashes}"
    weights = flags.folder.resolve()
    return Card(
        name=flags.name or (weights.name if weights.is_dir() else weights.stem),
        preset="imported",
        supervision=flags.supervision,
        trained_on=() if flags.split is None else (flags.split,),
        split_hash="",
        images_seen=0,
        commit="",
        licence=flags.licence,
        metric=flags.metric,
        notes=f"{read}; {notes}" if notes else read,
    )
