"""Names: which published tensor is which of ours, and what is said of those that do not fit."""

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import torch
from published_weights import read_fixture
from torch import Tensor, nn

from vo.datasets.errors import InputError
from vo.depth.encoder import EncoderConfig
from vo.depth.map_encoder import MapConfig, MapEncoder
from vo.depth.net import DepthConfig, DepthNet
from vo.depth.self_query_decoder import SelfQueryConfig, SelfQueryDecoder
from vo.pose_cnn import PoseCNN, PoseCNNConfig
from vo.pose_net import PoseConfig, PoseNet
from vo.published.files import Table
from vo.published.names import (
    Place,
    efficientnet_map_places,
    export_weights,
    import_weights,
    monodepth2_depth_places,
    monodepth2_pose_places,
    pose_cnn_places,
    resnet_map_places,
    self_query_places,
    spidepth_pose_places,
    unet_map_places,
)

Places = Callable[[Iterable[str]], dict[str, Place]]

SPIDEPTH_POSE = PoseConfig(EncoderConfig("resnet18", 6, normalisation="none"), motions=1)


def small_networks() -> dict[str, tuple[nn.Module, Places]]:
    resnet18, atto = EncoderConfig("resnet18"), EncoderConfig("convnext_atto")
    b0 = EncoderConfig("tf_efficientnet_b0", normalisation="none")
    resnet, unet = (32, 16, 8, 8, 8), (32, 16, 8, 8)
    query = SelfQueryConfig(channels=8, embedding=8, patch=4, queries=4, feed_forward=16)
    return {
        "monodepth2": (DepthNet(DepthConfig()), monodepth2_depth_places),
        "pose_resnet": (PoseNet(PoseConfig()), monodepth2_pose_places),
        "spidepth": (PoseNet(SPIDEPTH_POSE), spidepth_pose_places),
        "pose_cnn": (PoseCNN(PoseCNNConfig()), pose_cnn_places),
        "unet": (MapEncoder(MapConfig(atto, "unet", unet)), unet_map_places),
        "resnet": (MapEncoder(MapConfig(resnet18, "resnet", resnet)), resnet_map_places),
        "efficientnet": (MapEncoder(MapConfig(b0, "resnet", resnet)), efficientnet_map_places),
        "self_query": (SelfQueryDecoder(query), self_query_places),
    }


NAMES = [
    *("monodepth2", "pose_resnet", "spidepth", "pose_cnn", "unet", "resnet", "efficientnet"),
    "self_query",
]


@pytest.fixture(scope="module")
def small() -> dict[str, tuple[nn.Module, Places]]:
    torch.manual_seed(0)
    return small_networks()


def published(own: dict[str, Tensor], places: dict[str, Place]) -> dict[str, dict[str, object]]:
    """Files as they were saved: with what is to be passed over."""
    files: dict[str, dict[str, object]] = {}
    for file, content in export_weights(own, places).items():
        files[file] = {"height": 192, "width": 640, "use_stereo": False, **content}
    return files


def tables(files: dict[str, dict[str, object]]) -> dict[str, Table]:
    return {file: Table(Path("weights_19") / file, content) for file, content in files.items()}


# Names ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_export_then_import_gives_identical_tensors_under_other_names(small, name):
    net, place = small[name]
    own = net.state_dict()
    places = place(own)
    assert len(set(places.values())) == len(own)
    back = import_weights(tables(published(own, places)), places, own)
    assert list(back) == list(own)
    assert all(torch.equal(back[key], own[key]) for key in own)


@pytest.mark.parametrize(
    ("name", "own", "file", "key"),
    [
        ("monodepth2", "encoder.backbone.bn1.bias", "encoder.pth", "encoder.bn1.bias"),
        ("monodepth2", "decoder.narrow.4.weight", "depth.pth", "decoder.0.conv.conv.weight"),
        ("monodepth2", "decoder.fuse.0.bias", "depth.pth", "decoder.9.conv.conv.bias"),
        ("monodepth2", "decoder.heads.3.bias", "depth.pth", "decoder.13.conv.bias"),
        (
            "pose_resnet",
            *("encoder.backbone.conv1.weight", "pose_encoder.pth", "encoder.conv1.weight"),
        ),
        ("pose_resnet", "decoder.6.bias", "pose.pth", "net.3.bias"),
        ("spidepth", "decoder.4.weight", "pose.pth", "decoder.1.0.weight"),
        ("pose_cnn", "convolutions.6.bias", "pose.pth", "net.6.bias"),
        ("pose_cnn", "motion.weight", "pose.pth", "pose_conv.weight"),
        ("unet", "decoder.blocks.3.4.running_var", *("encoder.pth", "decoder.blocks.3.conv2.bn")),
        ("unet", "decoder.output.bias", "encoder.pth", "decoder.final_conv.bias"),
        ("resnet", "decoder.bottleneck.bias", "encoder.pth", "decoder.conv2.bias"),
        ("resnet", "decoder.blocks.0.3.weight", "encoder.pth", "decoder.up1._net.3.weight"),
        (
            "efficientnet",
            *("encoder.backbone.conv_stem.weight", "encoder.pth"),
            "encoder.original_model.conv_stem.weight",
        ),
        ("self_query", "positions", "depth.pth", "positional_encodings"),
        (
            "self_query",
            *("transformer.layers.3.norm2.bias", "depth.pth"),
            "transformer_encoder.layers.3.norm2.bias",
        ),
    ],
)
def test_names_that_other_tools_expect(small, name, own, file, key):
    net, place = small[name]
    found = place(net.state_dict())[own]
    assert found.file == file
    assert found.key.startswith(key)


def test_classifiers_are_passed_over_and_old_counters_may_be_missing(small):
    net, place = small["resnet"]
    own = net.state_dict()
    places = place(own)
    files = published(own, places)
    files["encoder.pth"] = {
        key: value
        for key, value in files["encoder.pth"].items()
        if not key.endswith("num_batches_tracked")
    }
    files["encoder.pth"]["encoder.encoder.fc.weight"] = torch.zeros(1000, 512)
    files["encoder.pth"]["encoder.encoder.fc.bias"] = torch.zeros(1000)
    back = import_weights(tables(files), places, own)
    assert all(torch.equal(back[key], own[key]) for key in own)


def test_what_does_not_fit_is_named_as_published(small):
    net, place = small["pose_cnn"]
    own = net.state_dict()
    places = place(own)

    def message(change: Callable[[dict[str, dict[str, object]]], object]) -> str:
        files = published(own, places)
        change(files)
        with pytest.raises(InputError) as caught:
            import_weights(tables(files), places, own)
        return str(caught.value)

    remedy = "; give published weights of this very architecture"
    gone = message(lambda files: files["pose.pth"].pop("net.3.weight"))
    assert gone == f"weights_19/pose.pth: net.3.weight is missing{remedy}"
    more = message(lambda files: files["pose.pth"].update({"net.7.bias": torch.zeros(2)}))
    assert more == f"weights_19/pose.pth: net.7.bias is not part of it{remedy}"
    other = message(lambda files: files["pose.pth"].update({"net.6.bias": torch.zeros(2)}))
    assert other == f"weights_19/pose.pth: net.6.bias is (2,) instead of (256,){remedy}"
    text = message(lambda files: files["pose.pth"].update({"net.6.bias": "none"}))
    assert text == f"weights_19/pose.pth: net.6.bias is missing{remedy}"
    wrong = torch.zeros(256)
    kind = message(lambda files: files["pose.pth"].update({"net.6.bias": wrong.long()}))
    assert "net.6.bias holds torch.int64 instead of torch.float32" in kind
    sparse = message(lambda files: files["pose.pth"].update({"net.6.bias": wrong.to_sparse()}))
    assert "net.6.bias is no plain tensor" in sparse
    nan = message(lambda files: files["pose.pth"].update({"net.6.bias": wrong / 0}))
    assert "net.6.bias is not finite" in nan


def test_a_file_that_is_missing_is_named(small):
    net, place = small["monodepth2"]
    own = net.state_dict()
    files = published(own, place(own))
    del files["depth.pth"]
    with pytest.raises(InputError, match=r"weights_19/encoder.pth: there is no depth.pth beside"):
        import_weights(tables(files), place(own), own)


def test_keys_of_a_file_with_a_prefix_are_named_in_full(small):
    net, place = small["self_query"]
    own = net.state_dict()
    files = published(own, place(own))
    del files["depth.pth"]["conv3x3.bias"]
    table = Table(Path("best.pt"), files["depth.pth"], "depth_decoder.")
    with pytest.raises(InputError, match=r"best.pt: depth_decoder.conv3x3.bias is missing"):
        import_weights({"depth.pth": table}, place(own), own)


def test_networks_without_a_published_layout_are_named(small):
    learned = SelfQueryDecoder(SelfQueryConfig(channels=8, query_source="learned"))
    with pytest.raises(ValueError, match="'queries' has no place in the published weights"):
        self_query_places(learned.state_dict())
    with pytest.raises(ValueError, match="has no place"):
        monodepth2_pose_places(small["pose_cnn"][0].state_dict())
    own = small["pose_cnn"][0].state_dict()
    with pytest.raises(ValueError, match="places of 0 keys for a network of 16 keys"):
        import_weights({}, {}, own)


# Layout -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["encoder.pth", "depth.pth", "pose_encoder.pth", "pose.pth"])
def test_export_writes_the_published_layout_of_monodepth2(fixtures, small, file):
    description, _ = read_fixture(fixtures, "monodepth2_resnet18_192x640")
    files: dict[str, dict[str, Tensor]] = {}
    for name in ("monodepth2", "pose_resnet"):
        net, place = small[name]
        files |= export_weights(net.state_dict(), place(net.state_dict()))
    layout = [(key, tuple(shape)) for key, shape, _ in description["files"][file]]
    layout = [(key, shape) for key, shape in layout if ".fc." not in key]
    assert sorted((key, tuple(value.shape)) for key, value in files[file].items()) == sorted(layout)
