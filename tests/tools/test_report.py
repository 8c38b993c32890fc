"""``report.html``: what a browser shows of it, and what can never be in it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from vo.datasets.errors import InputError
from vo.drive import Drive, Row
from vo.tools.report import Reported, ReportFlags, make, reported, run_page
from vo.tools.reporting.charts import Charts, Shown
from vo.tools.reporting.page import numbers, page
from vo.tools.run import run_drives
from vo.tools.running.finished import read_run
from vo.tools.running.flags import KINDS
from vo.tools.running.result import Result, judged, metrics
from vo.tools.running.samples import DepthSamples, depth_colours
from vo.tools.running.score_table import report_columns
from vo.trajectory import Trajectory

EVIL = "<img src=x onerror=alert(1)></script><script>alert(2)</script>"
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
PIXELS_A_METRE = """figure => {
  const marks = (anchor, axis) => [...figure.querySelectorAll(`text[text-anchor=${anchor}]`)]
    .map(text => [Number(text.textContent), Number(text.getAttribute(axis))])
    .filter(([value]) => Number.isFinite(value));
  const scale = ([first, ...rest]) =>
    (rest.at(-1)[1] - first[1]) / (rest.at(-1)[0] - first[0]);
  return [scale(marks("middle", "x")), -scale(marks("end", "y"))];
}"""
OPTIONS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if program is None:
        pytest.skip("no chromium: install the package chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=OPTIONS)
        yield browser
        browser.close()


@contextmanager
def opened(browser: Browser, file: Path, **options) -> Iterator[Page]:
    """The page, which says nothing to its console, asks nobody for anything, and opens no box."""
    heard: list[str] = []
    tab = browser.new_page(**options)
    tab.on("console", lambda message: heard.append(message.text))
    tab.on("pageerror", lambda error: heard.append(str(error)))
    tab.on("dialog", lambda dialog: heard.append(dialog.message))
    tab.on("request", lambda request: heard.append(request.url))
    tab.goto(file.as_uri())
    yield tab
    tab.close()
    assert [line for line in heard if not line.startswith("data:")] == [file.as_uri()]


def synthetic(
    frames: int, folder: Path, kinds: tuple[str, ...] = KINDS, name: str = "drive"
) -> Reported:
    """A long drive without images, one of its frames not tracked."""
    turns = np.cumsum(np.full(frames, 0.004))
    steps = np.stack([np.sin(turns), 0 * turns, np.cos(turns)], 1)
    T_w_c = np.tile(np.eye(4), (frames, 1, 1))
    T_w_c[1:, :3, 3] = np.cumsum(steps, 0)[:-1]
    noise = np.cumsum(np.random.default_rng(0).normal(0, 0.02, (frames, 3)), 0)
    poses = [T_w_c.copy() for _ in range(2)]
    for factor, T in zip((1, 3), poses, strict=True):
        T[1:, :3, 3] += factor * noise[1:]
    motions = [[np.eye(4), *(np.linalg.inv(T[:-1]) @ T[1:])] for T in poses]
    rows = [
        Row(
            i, i / 10, 1.0, 1.0, 1.0 if i else np.nan, 5.0 if i else np.nan, 10.0, 0.5,
            0.25 if i != 2 else np.inf, 0.9, 4, i != 5, "" if i != 5 else f"no texture {EVIL}",
            depth_scale=1.1, depth_true_median=9.0, abs_rel=0.1,
        )
        for i in range(frames)
    ]  # fmt: skip
    drive = Drive(rows, list(poses[0]), list(poses[1]), *motions)
    if "raw" not in kinds:
        drive.T_w_c_raw = drive.T_last_c_raw = [np.full((4, 4), np.nan)] * frames
    truth = Trajectory(np.arange(frames) / 10, T_w_c)
    result = judged(name, folder, drive, kinds, True, truth, "sim3", 12.5)
    return Reported(result, metrics(result), truth)


def test_page_shows_the_numbers_of_the_run(browser, tiny_run):
    found = json.loads((tiny_run / "metrics.json").read_text())
    scored = reported(read_run(tiny_run)).scored()
    with opened(browser, tiny_run / "report.html") as tab:
        assert tab.locator("h1").inner_text() == "run: visual odometry of 09"
        cells = {
            cell.get_attribute("data-key"): cell.inner_text()
            for cell in tab.locator("#scores td").all()
        }
        for column in report_columns([scored]):
            for kind in ("raw",) if column.of_run else ("raw", "refined"):
                if column.only in ("", kind):
                    value = found
                    for part in column.key.format(kind=kind).split("."):
                        value = value[part]
                    if isinstance(value, int | float):
                        value = format(column.factor * value, column.spec)
                    assert cells[column.key.format(kind=kind)] == (value or "-")
        for key in ("t_rel_percent", "r_rel_deg_per_100m", "ate_m", "rpe_trans_m", "alignment"):
            assert {f"raw.{key}", f"refined.{key}"} <= set(cells)
        assert {"frames_per_s", "raw.scale", "scale.consistency.mean"} <= set(cells)
        assert all(cell.get_attribute("scope") for cell in tab.locator("#scores th").all())
        points = {
            f"{chart} {line}": int(n)
            for chart, line, n in tab.eval_on_selector_all(
                "figure.chart path[data-points]",
                "all => all.map(p => [p.closest('figure').id, p.dataset.line, p.dataset.points])",
            )
        }
        for line in ("truth", "raw", "refined"):
            assert points[f"chart-0-trajectory {line}"] == 12
        for line in ("raw", "refined"):
            assert points[f"chart-0-error {line}"] == 12
            assert points[f"chart-0-residual {line}"] == 11
        assert points["chart-0-scales depth"] == 12
        assert {"chart-0-ratio raw", "chart-0-alignment refined", "chart-0-valid refined"} <= set(
            points
        )
        images = tab.locator("img").all()
        assert len(images) == 8 * 3 + 1
        assert all(image.evaluate("i => i.complete && i.naturalWidth > 8") for image in images)
        assert all(image.get_attribute("alt") for image in images)
        facts = tab.locator("table.facts").inner_text()
        for word in ("sha256", "commit", "torch", "96 x 64 pixels", "command"):
            assert word in facts
        tab.locator("summary").click()
        assert "iterations" in tab.locator("pre").inner_text()


def test_pointer_and_keys_tell_frame_and_error(browser, tiny_run):
    errors = reported(read_run(tiny_run)).result.evaluation("refined")
    assert errors is not None
    with opened(browser, tiny_run / "report.html") as tab:
        plot, tip = (tab.locator(f"#chart-0-error .{name}") for name in ("plot", "tip"))
        assert tip.is_hidden()
        plot.scroll_into_view_if_needed()
        box = plot.bounding_box()
        assert box is not None
        tab.mouse.move(box["x"] + box["width"] - 16, box["y"] + 60)
        assert "frame 11, 1.10 s" in tip.inner_text()
        said = dict(line.split(": ") for line in tip.inner_text().splitlines()[1:])
        assert float(said["refined"].split()[0]) == pytest.approx(
            errors.position_errors_m[-1], rel=1e-3
        )
        # the other charts of the same frames follow
        assert tab.locator("#chart-0-trajectory .marks circle").count() == 3
        tab.mouse.move(2, 2)
        assert tip.is_hidden()
        assert tab.locator(".marks circle").count() == 0
        plot.focus()
        for _ in range(4):
            tab.keyboard.press("ArrowRight")
        assert "frame 3, 0.30 s" in tip.inner_text()
        tab.locator("#chart-0-trajectory .plot").focus()
        tab.keyboard.press("End")
        assert "frame 11" in tab.locator("#chart-0-trajectory .tip").inner_text()
        assert "m off" in tab.locator("#chart-0-trajectory .tip").inner_text()
        assert tip.is_hidden(), "only one chart says it"


def test_charts_zoom_move_and_hide_lines(browser, tiny_run):
    with opened(browser, tiny_run / "report.html") as tab:

        def path(name: str) -> str:
            chart = "#chart-0-trajectory path"
            return tab.locator(f"{chart}[data-line='{name}']").get_attribute("d") or ""

        chart = tab.locator("#chart-0-trajectory")
        whole = path("refined")
        chart.get_by_role("button", name="zoom in").click()
        near = path("refined")
        assert near != whole
        box = chart.locator(".plot").bounding_box()
        assert box is not None
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        tab.mouse.move(x, y)
        tab.mouse.down()
        tab.mouse.move(x + 40, y + 25)
        tab.mouse.up()
        first, moved = (
            np.array(d[1:].split("L")[0].split(), float) for d in (near, path("refined"))
        )
        assert moved - first == pytest.approx([40, 25], abs=0.2)
        tab.mouse.wheel(0, 100)
        assert path("refined") != whole
        tab.keyboard.down("Control")
        tab.mouse.wheel(0, -100)
        tab.keyboard.up("Control")
        tab.mouse.dblclick(x, y)
        assert path("refined") == whole
        key = chart.get_by_role("button", name="raw", exact=True)
        key.click()
        assert key.get_attribute("aria-pressed") == "false"
        assert chart.locator("path[data-line='raw']").count() == 0
        # equal axes: a metre has as many pixels along both
        scales = chart.evaluate(PIXELS_A_METRE)
        assert scales[0] == pytest.approx(scales[1], rel=0.01)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_dark_and_phone(browser, tiny_run, scheme):
    phone = {"width": 390, "height": 844}
    file = tiny_run / "report.html"
    with opened(browser, file, viewport=phone, color_scheme=scheme) as tab:
        widths = tab.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert widths[0] <= widths[1] == 390
        colour = "getComputedStyle(document.querySelector(s)).backgroundColor"
        read = f"s => {colour}.match(/[0-9]+/g).slice(0, 3).reduce((a, b) => a + Number(b), 0)"
        assert (tab.evaluate(read, "body") < 200) == (scheme == "dark")
        assert (tab.evaluate(read, ".chart") < 200) == (scheme == "dark")
        lines = "p => getComputedStyle(document.querySelector(p)).stroke"
        colours = [
            tab.evaluate(lines, f"#chart-0-trajectory path[data-line='{line}']")
            for line in ("raw", "refined", "truth")
        ]
        truth = "rgb(200, 200, 200)" if scheme == "dark" else "rgb(51, 51, 51)"
        assert colours == ["rgb(1, 115, 178)", "rgb(222, 143, 5)", truth]


def test_a_run_without_truth_under_an_evil_name(browser, walk, run_flags, tmp_path, no_pictures):
    folder = walk.rename(tmp_path / EVIL.replace("/", "%"))
    assert cv2.imwrite(str(folder / "000005.png"), np.zeros((64, 96, 3), np.uint8))
    flags = replace(run_flags, seq=(), data=folder, intrinsics="70,70,47.5,31.5")
    run_drives(replace(flags, out=tmp_path / "run"))
    run = read_run(tmp_path / "run")
    with opened(browser, tmp_path / "run/report.html") as tab:
        assert tab.locator("h1").inner_text() == f"run: visual odometry of {folder.name}"
        assert tab.locator("img[src=x]").count() == 0
        assert "as estimated, not aligned" in tab.locator("#chart-0-trajectory").inner_text()
        charts = tab.eval_on_selector_all("figure.chart", "all => all.map(f => f.id)")
        assert charts == [f"chart-0-{n}" for n in ("trajectory", "ratio", "residual", "valid")]
        lost = tab.locator("#chart-0-residual path.lost").get_attribute("d") or ""
        assert lost.count("M") == sum(not row.tracked for row in run.rows) > 0
        assert (
            f"not tracked: {lost.count('M')} of 12 frames: 5" in tab.locator(".notice").inner_text()
        )
        tab.locator("#chart-0-residual .plot").focus()
        for _ in range(6):
            tab.keyboard.press("ArrowRight")
        reason = run.rows[5].reason
        assert f"not tracked: {reason}" in tab.locator("#chart-0-residual .tip").inner_text()


def test_a_long_drive_is_small_and_whole(browser, tiny_run, tmp_path):
    folder = tmp_path / "long"
    folder.mkdir()
    for name in ("command.txt", "config.yaml"):
        shutil.copy(tiny_run / name, folder)
    run = synthetic(4600, folder, name=EVIL)
    file = folder / "report.html"
    file.write_text(run_page(run))
    assert file.stat().st_size < 1_100_000, "pictures need the rest of 1.5 MB"
    with opened(browser, file) as tab:
        drawn = tab.locator("#chart-0-trajectory path[data-line='refined']")
        assert drawn.get_attribute("data-points") == "4600"
        # what is not finite is a gap: that of the first frame is not measured, and one is infinite
        residual = tab.locator("#chart-0-residual path[data-line='refined']")
        assert residual.get_attribute("data-points") == "4599"
        tab.locator("#chart-0-trajectory .plot").focus()
        tab.keyboard.press("End")
        assert "frame 4599" in tab.locator("#chart-0-trajectory .tip").inner_text()
        assert tab.locator("#chart-0-t_rel path[data-points='8']").count() == 2


def test_charts_hold_what_was_measured(tmp_path):
    run = synthetic(400, tmp_path)
    content = Charts([Shown("", run.result)], run.truth).content()
    arrays, charts = content["arrays"], {chart["id"]: chart for chart in content["charts"]}
    for kind in ("raw", "refined"):
        evaluation = run.result.evaluation(kind)
        assert evaluation is not None
        assert arrays[f"0.{kind}.error"] == pytest.approx(evaluation.position_errors_m, rel=1e-5)
        x, z = evaluation.aligned.positions[:, [0, 2]].T
        assert arrays[f"0.{kind}.x"] == pytest.approx(x, rel=1e-5, abs=1e-5)
        assert arrays[f"0.{kind}.z"] == pytest.approx(z, rel=1e-5, abs=1e-5)
        alignment = run.result.alignment(kind)
        assert alignment is not None
        assert arrays[f"0.{kind}.alignment"][0] is None
        found = np.array([np.nan if v is None else v for v in arrays[f"0.{kind}.alignment"][1:]])
        assert np.allclose(found, alignment.a, rtol=1e-5, equal_nan=True)
    truth = charts["trajectory"]["lines"][0]
    assert truth["label"] == "truth"
    assert len(arrays[truth["x"]]) == 400
    evaluation = run.result.evaluation("refined")
    assert evaluation is not None
    assert arrays["0.refined.t_rel"][1] == pytest.approx(
        evaluation.segments.of_length(200).t_rel_percent, rel=1e-5
    )
    assert arrays["0.refined.t_rel"][7] is None, "the drive is shorter than 800 m"
    assert arrays["0.refined.residual"][2] is None
    assert content["lost"] == [[5, 0, run.result.drive.rows[5].reason]]
    json.loads(numbers(content))


def test_numbers_and_page_escape_whatever_comes_from_data():
    content = {"name": EVIL, "and": "&amp; \u2028"}
    assert "<" not in numbers(content)
    assert json.loads(numbers(content)) == content
    with pytest.raises(ValueError, match="not JSON compliant"):
        numbers([np.nan])
    assert page(EVIL, "", "", "", []).count("<script") == 2
    assert "default-src 'none'" in page("", "", "", "", [])


def test_samples_are_all_along_the_drive():
    assert DepthSamples(500).positions == [31, 93, 156, 218, 281, 343, 406, 468]
    assert DepthSamples(3).positions == [0, 1, 2]
    depth = np.array([[0.0, 4.0, 8.0, 1e6]])
    (unknown, near, far, sky) = depth_colours(depth, 4.0)[0].astype(int).sum(-1)
    assert unknown == 0
    assert near > far > sky


def test_report_is_made_again_from_the_folder(tiny_run, tmp_path):
    make(ReportFlags(tiny_run, tmp_path / "again.html"))
    first = (tiny_run / "report.html").read_text()
    again = (tmp_path / "again.html").read_text()
    assert first.count("data:image/jpeg") == again.count("data:image/jpeg") == 25
    # the same samples, bit for bit, and the same table
    section = slice(first.index("<h2>Depth"), first.index("<h2>Settings"))
    assert first[section] in again
    table = slice(first.index("<tbody>"), first.index("</tbody>"))
    assert first[table] in again


def test_report_of_a_killed_run_and_of_lost_data(tiny_run, tmp_path):
    folder = tmp_path / "killed"
    shutil.copytree(tiny_run, folder)
    for name in ("metrics.json", "report.html"):
        (folder / name).unlink()
    make(ReportFlags(folder, depth=False))
    text = (folder / "report.html").read_text()
    assert "data:image" not in text
    assert 'data-key="frames_per_s">-<' in text
    with pytest.raises(InputError, match=r"--out: .*report\.html exists already, and is never"):
        make(ReportFlags(folder, depth=False))
    (folder / "report.html").unlink()
    with pytest.raises(InputError, match="there is no folder"):
        make(ReportFlags(folder, tmp_path / "none/report.html"))
    config = folder / "config.yaml"
    street = str(read_run(folder).config.flags.data)
    config.write_text(config.read_text().replace(street, "/nowhere"))
    with pytest.raises(InputError, match="/nowhere"):
        make(ReportFlags(folder))
    assert not (folder / "report.html").exists()


def test_result_without_refinement_has_raw_lines_only(tmp_path):
    run = synthetic(60, tmp_path, kinds=("raw",))
    assert isinstance(run.result, Result)
    content = Charts([Shown("", run.result)], run.truth).content()
    labels = {line["label"] for chart in content["charts"] for line in chart["lines"]}
    assert labels == {"truth", "raw", "pose, raw", "depth"}


def test_result_from_the_motion_before_has_refined_lines_only(browser, tiny_run, tmp_path):
    for name in ("command.txt", "config.yaml"):
        shutil.copy(tiny_run / name, tmp_path)
    run = synthetic(60, tmp_path, kinds=("refined",))
    content = Charts([Shown("", run.result)], run.truth).content()
    labels = {line["label"] for chart in content["charts"] for line in chart["lines"]}
    assert labels == {"truth", "refined", "pose, refined", "depth"}
    assert "ratio" not in {chart["id"] for chart in content["charts"]}
    file = tmp_path / "report.html"
    file.write_text(run_page(run))
    with opened(browser, file) as tab:
        head = tab.locator("#scores thead th").all_inner_texts()
        assert [text.strip() for text in head] == ["trajectory", "refined"]
        assert tab.locator("#scores [data-key^=raw]").count() == 0
        assert tab.locator("#scores [data-key='refined.frames']").inner_text() == "60"
        assert tab.locator("#scores .swatch.line-1").count() == 1, "the colour of its lines"
        assert tab.locator("#chart-0-trajectory path[data-line='refined']").count() == 1
        remark = "raw motions were not asked for (--first-guess motion): refined poses only"
        assert remark in tab.locator(".notice").inner_text()
