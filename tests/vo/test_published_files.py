"""Files with published weights: what is read of them, and what of a hostile one."""

from __future__ import annotations

import contextlib
import os
import pickle
import random
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path

import limited
import pytest
import torch
from published_weights import save_folder

from vo.datasets.errors import InputError
from vo.published.files import (
    demand_free_folder,
    image_size,
    read_finetuned,
    read_folder,
    read_plain,
    read_pose,
    write_folder,
)

ONE = torch.ones(1)
FILES = {
    "encoder.pth": {"encoder.bn1.weight": ONE, "height": 192, "width": 640, "use_stereo": True},
    "depth.pth": {"decoder.0.conv.conv.weight": 2 * ONE},
    "pose.pth": {"net.0.weight": 3 * ONE},
    "pose_encoder.pth": {"encoder.bn1.weight": 4 * ONE},
}


@pytest.fixture
def folder(tmp_path) -> Path:
    return save_folder(tmp_path / "weights_19", FILES)


def refusal(read, *arguments) -> str:
    with pytest.raises(InputError) as caught:
        read(*arguments)
    assert "\n" not in str(caught.value)
    assert caught.value.remedy
    return f"{caught.value.where}: {caught.value.problem}"


# What is read -----------------------------------------------------------------------------------


def test_a_folder_gives_its_networks_and_nothing_else(folder):
    torch.save({"state": {}}, folder / "adam.pth")
    tables = read_folder(folder)
    assert list(tables) == ["encoder.pth", "depth.pth", "pose.pth", "pose_encoder.pth"]
    assert all(table.path == folder / name for name, table in tables.items())
    assert image_size(tables["encoder.pth"]) == (640, 192)
    assert "height" not in tables["encoder.pth"]  # no tensor
    assert tables["pose_encoder.pth"].shape("encoder.bn1.weight", 1) == (1,)


def test_names_lose_data_parallel_and_get_the_dots_of_features(tmp_path):
    names = {
        "module.encoder.stem.0.weight": "encoder.stem_0.weight",
        "encoder.stages.2.blocks.1.mlp.fc1.bias": "encoder.stages_2.blocks.1.mlp.fc1.bias",
        "encoder.stages_3.blocks.0.gamma": "encoder.stages_3.blocks.0.gamma",
        "module.encoder.encoder.layer1.0.bn1.bias": "encoder.encoder.layer1.0.bn1.bias",
        "decoder.blocks.0.conv1.bn.weight": "decoder.blocks.0.conv1.bn.weight",
    }
    encoder = OrderedDict((name, ONE) for name in names)
    save_folder(tmp_path, {**FILES, "encoder.pth": encoder})
    assert list(read_folder(tmp_path)["encoder.pth"].values) == list(names.values())


@pytest.mark.parametrize("name", ["other", "other/pose.pth", "other/renamed.pth"])
def test_another_pose_network_takes_the_place_of_the_folders(folder, tmp_path, name):
    save_folder(tmp_path / "other", {"pose.pth": {"pose_conv.weight": 5 * ONE}})
    save_folder(tmp_path / "other", {"renamed.pth": {"pose_conv.weight": 5 * ONE}})
    tables = read_folder(folder, tmp_path / name)
    assert list(tables["pose.pth"].values) == ["pose_conv.weight"]
    assert image_size(tables["encoder.pth"]) == (640, 192)


def test_a_fine_tuned_file_is_split_into_its_networks(tmp_path, folder):
    model = {"module.encoder.encoder.stem.0.bias": ONE, "module.depth_decoder.conv3x3.bias": ONE}
    torch.save({"model": model, "optimizer": {"state": {}}, "epoch": 4}, tmp_path / "best.pt")
    for where in (tmp_path / "best.pt", tmp_path):
        tables = read_finetuned(where, folder)
        assert list(tables["encoder.pth"].values) == ["encoder.stem_0.bias"]
        assert list(tables["depth.pth"].values) == ["conv3x3.bias"]
        assert tables["depth.pth"].path == tmp_path / "best.pt"
        assert tables["depth.pth"].prefix == "depth_decoder."
        assert tables["pose.pth"].path == folder / "pose.pth"
        assert image_size(tables["encoder.pth"]) is None


# What is refused --------------------------------------------------------------------------------


class Evil:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("old_format", [False, True])
def test_code_in_a_pickle_is_named_and_not_run(folder, tmp_path, old_format):
    trace = tmp_path / "trace"
    evil = {"encoder.bn1.weight": ONE, "height": Evil(f"touch {trace}")}
    torch.save(evil, folder / "encoder.pth", _use_new_zipfile_serialization=not old_format)
    found = refusal(read_folder, folder)
    assert found.startswith(f"{folder / 'encoder.pth'}: holds code (")
    assert found.endswith("system), none of which was run")
    assert not trace.exists()


def test_the_evil_pickle_would_have_run(tmp_path):
    """The test above proves something only if this pickle does what it is meant to."""
    trace = tmp_path / "trace"
    pickle.loads(pickle.dumps(Evil(f"touch {trace}")))
    assert trace.exists()


def test_code_of_other_packages_is_named(folder):
    torch.save({"conv": torch.nn.Conv2d(1, 1, 1)}, folder / "depth.pth")
    assert "holds code (torch.nn.modules.conv.Conv2d)" in refusal(read_folder, folder)


@pytest.mark.parametrize("name", ["encoder.pth", "depth.pth"])
def test_a_file_that_is_missing_is_named(folder, name):
    (folder / name).unlink()
    assert refusal(read_folder, folder) == f"{folder / name}: no such file"


def test_a_pose_network_that_is_missing_is_named(folder, tmp_path):
    (folder / "pose.pth").unlink()
    with pytest.raises(InputError, match=r"pose.pth: no such file; .* with --pose"):
        read_folder(folder)
    assert refusal(read_folder, folder, tmp_path / "no") == f"{tmp_path / 'no'}: no such file"
    assert refusal(read_pose, folder) == f"{folder / 'pose.pth'}: no such file"


def test_a_place_that_is_no_folder_is_named(folder, tmp_path):
    assert refusal(read_folder, tmp_path / "no").endswith("no: no such folder")
    assert refusal(read_folder, folder / "depth.pth").endswith("depth.pth: is a file")


def test_what_is_no_fine_tuned_file_is_named(folder, tmp_path):
    assert refusal(read_finetuned, folder / "depth.pth", folder).endswith("holds no model")
    assert refusal(read_finetuned, folder, folder).endswith("weights_19: holds 0 .pt files")
    path = tmp_path / "best.pt"
    torch.save({"model": {"module.encoder.a": ONE, "module.pose.b": ONE}}, path)
    assert refusal(read_finetuned, path, folder) == f"{path}: pose.b is not part of it"
    torch.save({"model": {"module.encoder.a": ONE}}, path)
    assert refusal(read_finetuned, path, None) == f"{path}: fine-tuned weights have no pose network"


@pytest.mark.parametrize("content", [[ONE], ONE, 3, None, {1: ONE}])
def test_what_holds_no_names_is_refused(folder, content):
    torch.save(content, folder / "depth.pth")
    assert str(folder / "depth.pth") in refusal(read_folder, folder)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("old_format", [False, True])
def test_damaged_files_end_in_one_line(tmp_path, old_format):
    """Cut off, or with a byte changed, wherever that is: read or refused, never a traceback."""
    path = tmp_path / "depth.pth"
    # Some more than 64 KiB, the end of a zip file in which its table of contents is looked for.
    content = {f"layer.{i}.weight": torch.rand(3, 4) for i in range(4)}
    content["large"] = torch.rand(100, 200)
    torch.save(content, path, _use_new_zipfile_serialization=not old_format)
    whole, draw = path.read_bytes(), random.Random(0)
    refused = 0
    for trial in range(300):
        at = draw.randrange(len(whole) if trial % 4 < 2 else 2000)
        changed = bytes([draw.randrange(256)])
        path.write_bytes(whole[:at] if trial % 2 else whole[:at] + changed + whole[at + 1 :])
        with contextlib.suppress(InputError):
            read_plain(path)
            refused -= 1
        refused += 1
    assert refused >= 150  # every cut one
    for other in (b"", b"version of a pointer", b"<!DOCTYPE html>", b"PK"):
        path.write_bytes(other)
        assert "is no file of torch.save" in refusal(read_plain, path)


# What would fill the memory ---------------------------------------------------------------------


def repacked(path: Path, pickled: bytes | None = None, tensor: int = 0, way: int = 0) -> Path:
    """A file of torch.save with another pickle, or with zeros where its tensor was."""
    torch.save({"weight": torch.ones(4)}, path)
    with zipfile.ZipFile(path) as old:
        content = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w", way) as new:
        for name, data in content.items():
            if name.endswith("data.pkl") and tensor:  # four numbers become many
                data = data.replace(b"K\x04", b"J" + struct.pack("<i", tensor // 4))
            elif name.endswith("data.pkl") and pickled is not None:
                data = b"\x80\x02}X\x06\x00\x00\x00weight" + pickled + b"s."
            with new.open(name, "w") as file:
                if name.endswith("/data/0") and tensor:
                    for _ in range(tensor >> 20):
                        file.write(bytes(1 << 20))
                else:
                    file.write(data)
    return path


CALLS = {  # of what torch lets a pickle do
    "bytearray": b"cbuiltins\nbytearray\nJ\x00\x00\x00\x40\x85R",
    "encode": b"c_codecs\nencode\nX\x01\x00\x00\x00aX\x06\x00\x00\x00latin1\x86R",
}


def test_compressed_tensors_are_not_inflated(tmp_path):
    path = repacked(tmp_path / "a.pth", tensor=640 << 20, way=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 1 << 20
    assert f"{path}: is compressed" in limited.refusal(lambda: read_plain(path))


@pytest.mark.parametrize("name", CALLS)
def test_a_pickle_gets_no_bytes_by_their_number(tmp_path, name):
    path = repacked(tmp_path / "a.pth", CALLS[name])
    assert f"{name}, which no weights need" in limited.refusal(lambda: read_plain(path))
    path.write_bytes(b"\x80\x02" + CALLS[name] + b".")  # the old format, which is no zip file
    assert f"{name}, which no weights need" in limited.refusal(lambda: read_plain(path))


@pytest.mark.parametrize("begin", [b"", b"PK\x03\x04", b"\x80\x02cno line ends"])
def test_a_file_without_end_is_no_file_of_weights(tmp_path, begin):
    path = tmp_path / "a.pth"
    path.write_bytes(begin)
    os.truncate(path, 1 << 40)
    assert "is no file of torch.save" in limited.refusal(lambda: read_plain(path))


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_weights_are_a_file(folder, kind):
    path = folder / "depth.pth"
    path.unlink()
    os.mkfifo(path) if kind == "pipe" else path.symlink_to("/dev/zero")
    said = limited.refusal(lambda: read_folder(folder))
    assert f"{path}: is a pipe or a device" in said


# What is written --------------------------------------------------------------------------------


@pytest.mark.parametrize("exists", [False, True])
def test_a_folder_is_written_as_it_was_read(tmp_path, exists):
    folder = tmp_path / "weights"
    if exists:
        folder.mkdir()
    write_folder(folder, FILES)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["weights"]
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    for name, content in FILES.items():
        found = torch.load(folder / name, weights_only=True)
        assert list(found) == list(content)
        assert all(found[key] == value for key, value in content.items())


def test_a_folder_with_something_in_it_stays_as_it_is(folder, tmp_path):
    before = (folder / "pose.pth").read_bytes()
    assert refusal(write_folder, folder, FILES) == f"{folder}: holds something already"
    assert (folder / "pose.pth").read_bytes() == before
    assert "pose.pth: is a file" in refusal(demand_free_folder, folder / "pose.pth")
    assert "there is no folder" in refusal(demand_free_folder, tmp_path / "a" / "b")


def test_a_failure_leaves_no_part_of_a_folder(tmp_path, monkeypatch):
    """The second of two files cannot be written."""
    written: list[Path] = []

    def full(path: Path, data: bytes) -> None:
        assert path.parent.name != "weights"
        if written:
            raise OSError(28, "No space left on device", str(path))
        written.append(path)
        path.write_bytes(data)

    monkeypatch.setattr("vo.published.files.write_atomically", full)
    with pytest.raises(OSError, match="No space left"):
        write_folder(tmp_path / "weights", FILES)
    assert written
    assert list(tmp_path.iterdir()) == []
