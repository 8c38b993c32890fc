"""`vo-run --rrd`, `--serve` and `vo-view`: the commands."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from rerun.chunk import RrdReader

from vo.tools.view import main
from vo.tools.viewing.places import open_places

pytestmark = pytest.mark.usefixtures("no_pictures")


@pytest.fixture
def vo_view(call):
    return lambda *words: call(main, "vo-view", *words)


def entities(path: Path) -> dict[str, int]:
    rows: dict[str, int] = {}
    for chunk in RrdReader(path).stream():
        rows[chunk.entity_path] = rows.get(chunk.entity_path, 0) + chunk.num_rows
    return rows


def two_free_ports() -> int:
    """The first of two free ports in a row."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return port


def test_a_run_and_its_replay_record_the_same_entities(vo_run, vo_view, tiny_street, tmp_path):
    done = vo_run("--data", tiny_street, "--seq", "9", "--out", "run", "--rrd", "live.rrd")
    assert (done.status, done.err) == (0, "")
    status, out, err = vo_view("run", "--rrd", "again.rrd")
    assert (status, err) == (0, "")
    assert out == "12 frames in again.rrd\n"
    live, again = entities(tmp_path / "live.rrd"), entities(tmp_path / "again.rrd")
    assert live.pop("/plot/frames_per_s") > again.pop("/plot/frames_per_s"), "a replay has no speed"
    for rows in (live, again):
        rows.pop("/__properties", None)
    assert live["/refined/trajectory"] == live["/raw/trajectory"] == 11 + 1  # and the style
    assert live == again

    done = vo_run("--data", tiny_street, "--seq", "9", "--out", "run2", "--rrd", "live.rrd")
    refused = "error: --rrd: live.rrd exists already, and is never overwritten; "
    assert done.err.startswith(refused)
    assert vo_view("run", "--rrd", "live.rrd")[2].startswith(refused)
    assert not (tmp_path / "run2").exists()


def test_a_run_without_raw_poses_has_one_world(vo_run, vo_view, tiny_street, tmp_path):
    flags = ("--data", tiny_street, "--seq", "9", "--first-guess", "motion")
    assert vo_run(*flags, "--out", "run", "--rrd", "live.rrd").status == 0
    assert vo_view("run", "--rrd", "again.rrd")[0] == 0
    live, again = entities(tmp_path / "live.rrd"), entities(tmp_path / "again.rrd")
    for rows in (live, again):
        assert not any("raw" in path or path == "/plot/scale" for path in rows)
        rows.pop("/plot/frames_per_s", None)
        rows.pop("/__properties", None)
    assert live["/refined/trajectory"] == live["/plot/residual"] == 11 + 1  # and the style
    assert live == again


def test_a_killed_run_is_shown_as_far_as_it_came(vo_run, vo_view, tiny_street, tmp_path):
    vo_run("--data", tiny_street, "--seq", "9", "--out", "run", "--no-refine")
    scale = tmp_path / "run/scale.csv"
    scale.write_text("".join(scale.read_text().splitlines(keepends=True)[:5]))
    (tmp_path / "run/metrics.json").unlink()
    status, out, err = vo_view("run", "--rrd", "part.rrd")
    assert (status, err) == (0, "")
    assert out == "4 frames in part.rrd\n"
    rows = entities(tmp_path / "part.rrd")
    assert rows["/raw/trajectory"] == 3 + 1
    assert not any(path.startswith("/refined") for path in rows), "nothing was refined"


def test_a_broken_view_does_not_stop_the_run(vo_run, tiny_street, tmp_path, monkeypatch):
    def broken(self, poses, pictures) -> None:
        raise RuntimeError("File-writer thread shut down prematurely")

    monkeypatch.setattr("vo.tools.viewing.viewer.Recording.add", broken)
    done = vo_run("--data", tiny_street, "--seq", "9", "--out", "run", "--rrd", "live.rrd")
    line = "view: it ended before the run did: File-writer thread shut down prematurely"
    assert (done.status, done.err) == (0, f"warning: {line}\n")
    assert line in (tmp_path / "run/log.txt").read_text()
    assert len((tmp_path / "run/refined.txt").read_text().splitlines()) == 12


def test_refusals_are_one_line_before_any_work(vo_run, vo_view, tiny_street, tmp_path):
    data = ("--data", tiny_street)
    cases = {
        (*data, "--seq", "all", "--rrd", "a.rrd"): "--rrd: is one file for 2 sequences; run one",
        (*data, "--seq", "9", "--rrd", "no/a.rrd"): "--rrd: there is no folder no; create it first",
        (*data, "--seq", "9", "--serve", "web"): "--serve: 'web' is no port; give --serve, ",
    }
    for arguments, line in cases.items():
        done = vo_run(*arguments)
        assert (done.status, done.out) == (2, ""), arguments
        assert done.err.startswith(f"error: {line}"), done.err
        assert done.err.count("\n") == 1
    status, _, err = vo_view(tmp_path, "--rrd", "a.rrd")
    assert (status, err.count("\n")) == (2, 1)
    assert err.startswith(f"error: {tmp_path}: has no config.yaml; ")
    assert not (tmp_path / "runs").exists()
    assert not list(tmp_path.glob("*.rrd"))


def test_the_page_is_seen_by_this_machine_only_and_ends_with_the_block():
    port = two_free_ports()
    with open_places(False, None, (str(port),)) as places:
        assert places.urls == (f"rerun+http://127.0.0.1:{port + 1}/proxy",)
        assert places.page is not None
        assert b"<html" in urllib.request.urlopen(places.page, timeout=10).read().lower()
        if sys.platform == "linux":
            assert set(listeners(port, port + 1)) == {("0100007F", port), ("0100007F", port + 1)}
        with pytest.raises(Exception, match=f"--serve: 127.0.0.1:{port} cannot be used"):
            open_places(False, None, (str(port),)).__enter__()
        assert places.server is not None
        places.server.kill()
        told: list[str] = []
        places.stay(told.append)  # returns: there is nothing left to stay for
        assert told[-1] == "the view has ended"
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.mark.skipif(sys.platform != "linux", reason="other kernels leave the page to itself")
def test_the_page_ends_with_a_run_that_is_killed():
    port = two_free_ports()
    script = (
        "import time; from vo.tools.viewing.places import open_places\n"
        f"with open_places(False, None, ('{port}',)): print('open', flush=True); time.sleep(60)"
    )
    run = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert run.stdout is not None
    assert run.stdout.readline() == b"open\n"
    assert len(listeners(port, port + 1)) == 2
    run.kill()
    until = time.monotonic() + 20
    while listeners(port, port + 1) and time.monotonic() < until:
        time.sleep(0.05)
    assert not listeners(port, port + 1)


def listeners(*ports: int) -> list[tuple[str, int]]:
    """Interface and port of every socket that listens on one of the ports."""
    found = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            _, local, _, state, *_ = line.split()
            interface, port = local.rsplit(":", 1)
            if state == "0A" and int(port, 16) in ports:
                found.append((interface, int(port, 16)))
    return found


@pytest.mark.parametrize("command", ["run", "view"])
def test_help_imports_nothing_heavy(command):
    code = (
        f"import sys; sys.argv = ['vo-{command}', '--help']\n"
        f"from vo.tools.{command} import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'numpy', 'torch', 'cv2', 'rerun'} & set(sys.modules)))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert "--rrd FILE" in out.stdout
    assert out.stdout.splitlines()[-1] == "[]"
