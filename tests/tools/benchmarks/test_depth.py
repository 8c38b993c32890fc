"""The benchmark of depth networks, on the smallest one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from vo.datasets.errors import InputError
from vo.model import Model
from vo.presets import preset
from vo.tools.benchmarks.depth import _ours, _plain, depth


def test_a_table_and_a_file_with_ratios(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    file = tmp_path / "depth.json"
    depth(presets=("street",), seconds=0.1, json_file=file)
    found = json.loads(file.read_text())
    assert {row["precision"] for row in found["rows"]} >= {"fp32"}
    assert found["rows"][0]["parameters"] == pytest.approx(5.3, abs=0.3)
    assert found["ratios"]["plain_over_ours_time_street_fp32"] > 0
    assert "plain_over_ours_time_street_fp32" in capsys.readouterr().out


def test_what_is_compared_computes_the_same() -> None:
    net = Model(preset("street").model).depth_net.eval()
    image = torch.rand(1, 3, 128, 416)
    with torch.inference_mode():
        torch.testing.assert_close(_ours(net, image, False), _plain(net, image))
        assert not torch.equal(_ours(net, image, True), _ours(net, image, False))


def test_a_preset_without_networks_is_refused() -> None:
    with pytest.raises(InputError, match="there is no network of 'finetune'"):
        depth(presets=("finetune",))
