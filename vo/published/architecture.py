"""Which networks published weights are of, from the names and shapes of their tensors."""

from __future__ import annotations

from vo.datasets.errors import InputError
from vo.depth.encoder import EncoderConfig
from vo.depth.map_encoder import MapConfig
from vo.depth.net import DepthConfig
from vo.depth.self_query_decoder import SelfQueryConfig
from vo.pose_cnn import PoseCNNConfig
from vo.pose_net import PoseConfig
from vo.published.files import DEPTH, ENCODER, POSE, POSE_ENCODER, Table

# Blocks of the four stages of a ResNet; whether a block is a bottleneck of three convolutions.
RESNETS: dict[tuple[bool, tuple[int, ...]], str] = {
    (False, (2, 2, 2, 2)): "resnet18",
    (False, (3, 4, 6, 3)): "resnet34",
    (True, (3, 4, 6, 3)): "resnet50",
    (True, (3, 4, 23, 3)): "resnet101",
    (True, (3, 8, 36, 3)): "resnet152",
}
# Channels of the first stage and blocks of the four stages of a ConvNeXt of either version.
_CONVNEXTS: dict[tuple[int, tuple[int, ...]], str] = {
    (40, (2, 2, 6, 2)): "atto",
    (48, (2, 2, 6, 2)): "femto",
    (64, (2, 2, 6, 2)): "pico",
    (80, (2, 2, 8, 2)): "nano",
    (96, (3, 3, 9, 3)): "tiny",
    (96, (3, 3, 27, 3)): "small",
    (128, (3, 3, 27, 3)): "base",
    (192, (3, 3, 27, 3)): "large",
    (256, (3, 3, 27, 3)): "xlarge",
    (352, (3, 3, 27, 3)): "huge",
}
_ONLY_IN = {"xlarge": 1, "huge": 2}  # versions of ConvNeXt
# Channels of the stem and blocks of the seven stages of an EfficientNet.
_EFFICIENTNETS: dict[tuple[int, tuple[int, ...]], str] = {
    (48, (3, 5, 5, 7, 7, 9, 3)): "tf_efficientnet_b5",
}
_KNOWN = "known are ResNet-18 to -152, ConvNeXt and ConvNeXt V2 of every size, EfficientNet-B5"

RESNET_PREFIX, EFFICIENTNET_PREFIX = "encoder.encoder.", "encoder.original_model."


def disparity_config(tables: dict[str, Table], min_depth: float, max_depth: float) -> DepthConfig:
    """monodepth2's depth network.

    Args:
        tables: what the folder holds.
        min_depth: depth at disparity 1, which no shape tells.
        max_depth: depth at disparity 0.

    Raises:
        InputError: when the weights are of another network.
    """
    encoder, depth = tables[ENCODER], tables[DEPTH]
    if "embedding_convPxP.weight" in depth:
        raise depth.error("is of SQLdepth or SPIdepth", "say so with --from")
    convolutions = depth.count("decoder.{}.conv.conv.weight")
    if convolutions % 2 or not convolutions:
        raise depth.error(f"{depth.prefix}decoder.{convolutions}.conv.conv.weight is missing")
    widths = [depth.shape(f"decoder.{i}.conv.conv.weight", 4)[0] for i in range(0, convolutions, 2)]
    heads = 0
    while f"decoder.{convolutions + heads}.conv.weight" in depth:
        heads += 1
    return DepthConfig(
        EncoderConfig(backbone(encoder, "encoder.")),
        decoder_channels=tuple(reversed(widths)),
        scales=heads,
        min_depth=min_depth,
        max_depth=max_depth,
    )


def map_config(tables: dict[str, Table]) -> MapConfig:
    """SQLdepth's and SPIdepth's encoder-decoder, with the normalisation that each has learned with.

    Raises:
        InputError: when the weights are of another network.
    """
    encoder = tables[ENCODER]
    if "decoder.0.conv.conv.weight" in tables[DEPTH]:
        raise encoder.error("is of monodepth2", "say so with --from")
    if "decoder.conv2.weight" not in encoder:
        blocks = encoder.count("decoder.blocks.{}.conv1.conv.weight")
        names = [f"decoder.blocks.{i}.conv1.conv.weight" for i in range(max(blocks, 1))]
        widths = tuple(encoder.shape(name, 4)[0] for name in names)
        unet = EncoderConfig(backbone(encoder, "encoder."), normalisation="none")
        return MapConfig(unet, "unet", widths, encoder.shape("decoder.final_conv.weight", 4)[0])
    names = ["decoder.conv2.weight", *(f"decoder.up{i}._net.0.weight" for i in range(1, 5))]
    widths = tuple(encoder.shape(name, 4)[0] for name in names)
    channels = encoder.shape("decoder.conv3.weight", 4)[0]
    if f"{EFFICIENTNET_PREFIX}conv_stem.weight" in encoder:
        name, normalisation = backbone(encoder, EFFICIENTNET_PREFIX), "none"
    else:
        name, normalisation = backbone(encoder, RESNET_PREFIX), "monodepth2"
    return MapConfig(EncoderConfig(name, normalisation=normalisation), "resnet", widths, channels)


def self_query_config(
    tables: dict[str, Table], heads: int, min_depth: float, max_depth: float
) -> SelfQueryConfig:
    """The Self Query Layer.

    Args:
        tables: what the folder holds.
        heads: of the attention, which no shape tells.
        min_depth: lower edge of the nearest bin, likewise.
        max_depth: upper edge of the farthest bin.

    Raises:
        InputError: when the weights are of another network.
    """
    depth = tables[DEPTH]
    embedding, channels, patch, _ = depth.shape("embedding_convPxP.weight", 4)
    bins, queries = depth.shape("convert_to_prob.0.weight", 4)[:2]
    return SelfQueryConfig(
        channels=channels,
        embedding=embedding,
        patch=patch,
        queries=queries,
        bins=bins,
        feed_forward=depth.shape("transformer_encoder.layers.0.linear1.weight", 2)[0],
        heads=heads,
        layers=depth.count("transformer_encoder.layers.{}.linear1.weight"),
        positions=depth.shape("positional_encodings", 2)[0],
        min_depth=min_depth,
        max_depth=max_depth,
    )


def pose_config(tables: dict[str, Table]) -> PoseConfig | PoseCNNConfig:
    """The pose network of any of them, with the normalisation that it has learned with.

    Raises:
        InputError: when the weights are of none of them.
    """
    pose = tables[POSE]
    if "pose_conv.weight" in pose:
        return PoseCNNConfig()
    if "squeeze.0.weight" in pose:
        encoder, normalisation, last = pose, "none", "decoder.2.weight"
        hidden = pose.shape("squeeze.0.weight", 4)[0]
    else:
        hidden, last, normalisation = pose.shape("net.0.weight", 4)[0], "net.3.weight", "monodepth2"
        if POSE_ENCODER not in tables:
            remedy = "a pose network on the features of the depth network is not known here"
            raise InputError(pose.path.with_name(POSE_ENCODER), "no such file", remedy)
        encoder = tables[POSE_ENCODER]
    return PoseConfig(
        EncoderConfig(backbone(encoder, "encoder."), in_channels=6, normalisation=normalisation),
        hidden=hidden,
        motions=max(pose.shape(last, 4)[0] // 6, 1),
    )


def backbone(table: Table, prefix: str) -> str:
    """timm's name of a backbone.

    Args:
        table: what a file holds.
        prefix: of the backbone's keys in it: ``encoder.``.

    Raises:
        InputError: when it is none of those that the published systems use.
    """
    for name_of in (_resnet, _convnext, _efficientnet):
        found = name_of(table, prefix)
        if found is None:
            continue
        name, words = found
        if name is None:
            raise table.error(f"holds {words}, which is none that is known", _KNOWN)
        return name
    raise table.error(f"holds no backbone under {table.prefix}{prefix} that is known", _KNOWN)


def _resnet(table: Table, prefix: str) -> tuple[str | None, str] | None:
    """Name, if it has one, and a description of a ResNet; None where it is no ResNet."""
    if f"{prefix}conv1.weight" not in table:
        return None
    bottleneck = f"{prefix}layer1.0.conv3.weight" in table
    blocks = tuple(table.count(f"{prefix}layer{i}.{{}}.conv1.weight") for i in range(1, 5))
    return RESNETS.get((bottleneck, blocks)), f"a ResNet of {_listed(blocks)} blocks"


def _convnext(table: Table, prefix: str) -> tuple[str | None, str] | None:
    if f"{prefix}stem_0.weight" not in table:
        return None
    version = 2 if f"{prefix}stages_0.blocks.0.mlp.grn.weight" in table else 1
    channels = table.shape(f"{prefix}stem_0.weight", 4)[0]
    stages = [f"{prefix}stages_{i}.blocks.{{}}.conv_dw.weight" for i in range(4)]
    blocks = tuple(table.count(stage) for stage in stages)
    family = "convnextv2" if version == 2 else "convnext"
    size = _CONVNEXTS.get((channels, blocks))
    is_known = size is not None and _ONLY_IN.get(size, version) == version
    words = f"a {family} of {channels} channels and {_listed(blocks)} blocks"
    return f"{family}_{size}" if is_known else None, words


def _efficientnet(table: Table, prefix: str) -> tuple[str | None, str] | None:
    if f"{prefix}conv_stem.weight" not in table:
        return None
    channels = table.shape(f"{prefix}conv_stem.weight", 4)[0]
    blocks = tuple(table.count(f"{prefix}blocks.{i}.{{}}.bn1.weight") for i in range(7))
    words = f"an EfficientNet of {channels} channels and {_listed(blocks)} blocks"
    return _EFFICIENTNETS.get((channels, blocks)), words


def _listed(blocks: tuple[int, ...]) -> str:
    return ", ".join(map(str, blocks))
