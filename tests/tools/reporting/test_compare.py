"""``vo-eval compare``: one table and one report of several runs."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from vo.tools.evaluate import main
from vo.tools.run import run_drives


@pytest.fixture(scope="module")
def runs(tiny_run, run_flags, tmp_path_factory) -> Path:
    """Folder with four runs: three of the same frames, and half of the same images as 10."""
    root = tmp_path_factory.mktemp("runs")
    shutil.copytree(tiny_run, root / "whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vo.tools.running.plots.draw_run", lambda result, truth: [])
        run_drives(replace(run_flags, refine=False, out=root / "raw"))
        run_drives(replace(run_flags, first_guess="motion", out=root / "fast"))
        run_drives(replace(run_flags, seq=("10",), align="scale", end=6, out=root / "ten"))
    return root


@pytest.fixture
def compare(call, runs, monkeypatch):
    """Run the command in the folder of the runs."""
    monkeypatch.chdir(runs)
    return lambda *words: call(main, "vo-eval", "compare", *words)


def groups(file: Path) -> list[dict]:
    found = re.search(
        r'<script type="application/json" id="numbers">(.*?)</script>', file.read_text()
    )
    assert found is not None
    return json.loads(found[1])


def test_table_has_what_the_runs_have_written(compare, runs):
    status, out, err = compare("whole", "raw", "ten")
    assert (status, err) == (0, "")
    titles, _, *rows = out.splitlines()
    assert titles.split()[:3] == ["run", "sequence", "trajectory"]
    table = [row.split() for row in rows[:5]]
    assert [row[:3] for row in table] == [
        ["whole", "09", "raw"],
        ["whole", "09", "refined"],
        ["raw", "09", "raw"],
        ["ten", "10", "raw"],
        ["ten", "10", "refined"],
    ]
    for name, _, kind, _, _, ate, rpe, *_ in table:
        scores = json.loads((runs / name / "metrics.json").read_text())[kind]
        assert (ate, rpe) == (f"{scores['ate_m']:.3f}", f"{scores['rpe_trans_m']:.4f}")
    assert [row[-3] for row in table] == ["sim3", "sim3", "sim3", "scale", "scale"]
    assert [row[-1] for row in table] == ["12", "12", "12", "6", "6"]
    assert "raw: refinement was off (--no-refine): raw poses only" in rows


def test_a_run_without_raw_poses_beside_others(compare, runs, tmp_path):
    out = tmp_path / "comparison.html"
    status, said, err = compare("fast", "whole", "raw", "--out", out)
    assert (status, err) == (0, "")
    titles, _, fast, raw, *_ = said.splitlines()
    assert titles.split()[8] == "raw/refined"
    assert fast.split()[:3] == ["fast", "09", "refined"]
    assert fast.split()[8:10] == ["-", "-"], "it cannot know this scale"
    assert raw.split()[:3] == ["whole", "09", "raw"]
    remark = "raw motions were not asked for (--first-guess motion): refined poses only"
    assert f"fast: {remark}" in said.splitlines()
    (group,) = groups(out)
    lines = {chart["id"]: [line["label"] for line in chart["lines"]] for chart in group["charts"]}
    assert lines["error"] == ["fast refined", "whole raw", "whole refined", "raw raw"]
    assert lines["ratio"] == ["whole raw"]
    assert lines["residual"] == ["fast refined", "whole raw", "whole refined"]
    assert lines["valid"] == ["fast refined", "whole refined"]
    status, alone, _ = compare("fast")
    assert status == 0
    assert "raw/refined" not in alone
    assert [line.split()[2] for line in alone.splitlines()[2:3]] == ["refined"]


def test_written_scores_stand_and_missing_ones_are_computed(compare, runs, tmp_path):
    for name in ("kept", "killed"):
        shutil.copytree(runs / "whole", tmp_path / name)
    file = tmp_path / "kept/metrics.json"
    content = json.loads(file.read_text())
    content["refined"]["ate_m"] = 123.456
    file.write_text(json.dumps(content))
    (tmp_path / "killed/metrics.json").unlink()
    status, out, _ = compare(tmp_path / "kept", tmp_path / "killed", "whole")
    assert status == 0
    ates = [line.split()[5] for line in out.splitlines()[2:8]]
    assert ates[1] == "123.456"
    assert ates[2:4] == ates[4:6]
    speeds = [line.split()[-2] for line in out.splitlines()[2:8]]
    assert speeds[2:4] == ["-", "-"]


def test_report_draws_the_same_drive_in_one_chart(compare, tmp_path):
    out = tmp_path / "comparison.html"
    status, said, _ = compare("ten", "whole", "raw", "--out", out)
    assert status == 0
    assert said.splitlines()[-1] == f"report: {out}"
    first, second = groups(out)
    lines = {chart["id"]: [line["label"] for line in chart["lines"]] for chart in second["charts"]}
    assert lines["trajectory"] == ["truth", "whole raw", "whole refined", "raw raw"]
    assert lines["error"] == lines["trajectory"][1:]
    assert lines["alignment"] == lines["trajectory"][1:]
    assert "scales" not in lines
    looks = [(line["colour"], line["dashed"]) for line in second["charts"][0]["lines"][1:]]
    assert looks == [(0, True), (0, False), (1, True)]
    assert [line["label"] for line in first["charts"][0]["lines"]] == [
        "truth", "ten raw", "ten refined",
    ]  # fmt: skip
    text = out.read_text()
    assert "Sequence 09, 12 frames from 0 to 11" in text
    assert "Sequence 10, 6 frames from 0 to 5" in text
    assert text.count("<td>whole</td>") == 2


def test_refusals_are_one_line(compare, runs, tmp_path):
    (tmp_path / "taken.html").write_text("mine")
    (tmp_path / "empty").mkdir()
    shutil.copytree(runs / "whole", tmp_path / "foreign")
    (tmp_path / "foreign/metrics.json").write_text('{"refinement": true, "raw": 3}')
    shutil.copytree(runs / "whole", tmp_path / "none")
    (tmp_path / "none/metrics.json").write_text('{"raw": null, "refined": null}')
    cases = {
        (): "RUN: is missing",
        ("nowhere",): "nowhere: has no config.yaml; give the folder of a run",
        (tmp_path / "empty",): f"{tmp_path / 'empty'}: has no config.yaml",
        ("whole", "./whole"): f"{runs / 'whole'}: is given twice",
        ("whole", "--out", tmp_path / "taken.html"): f"--out: {tmp_path / 'taken.html'} exists",
        (tmp_path / "none",): f"{tmp_path / 'none/metrics.json'}: has none of raw, refined",
        ("whole", "--out", tmp_path / "no/a.html"): f"--out: there is no folder {tmp_path / 'no'}",
        (tmp_path / "foreign",): f"{tmp_path / 'foreign/metrics.json'}: lacks raw.ate_m",
    }
    for arguments, line in cases.items():
        status, out, err = compare(*arguments)
        assert status == 2, arguments
        assert err.startswith(f"error: {line}"), err
        assert (err.count("\n"), out) == (1, ""), arguments
    assert (tmp_path / "taken.html").read_text() == "mine"


def test_runs_of_one_name_are_told_apart(compare, runs, tmp_path):
    for parent in ("a", "b"):
        shutil.copytree(runs / "whole", tmp_path / parent / "run")
    status, out, _ = compare(tmp_path / "a/run", tmp_path / "b/run")
    assert status == 0
    assert [line.split()[0] for line in out.splitlines()[2:6]] == ["a/run"] * 2 + ["b/run"] * 2
