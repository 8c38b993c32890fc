"""The wheel: all that is needed is in it, and it lives beside a foreign package `datasets`."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """Folder that holds the package as a wheel installs it, and somebody else's `datasets`."""
    built = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    options = ["--no-deps", "--no-build-isolation", "--quiet"]
    # A copy, so that building leaves nothing in the checkout and a checkout without git builds.
    copy = built / "source"
    subprocess.run(["git", "-C", ROOT, "checkout-index", "-a", f"--prefix={copy}/"], check=True)
    subprocess.run([*pip, "wheel", copy, "-w", built, *options], check=True)
    target = tmp_path_factory.mktemp("site")
    (wheel,) = built.glob("*.whl")
    subprocess.run([*pip, "install", wheel, "--target", target, *options], check=True)
    (target / "datasets").mkdir()
    (target / "datasets" / "__init__.py").write_text("NAME = 'foreign'\n")
    return target


def run(installed: Path, cwd: Path, *command: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)


def test_package_comes_from_the_wheel_and_leaves_the_foreign_one_alone(installed, tmp_path):
    code = (
        "import datasets, vo, vo.datasets, vo.depth, vo.tools;"
        "print(datasets.NAME, vo.__file__, vo.datasets.__file__, vo.tools.__file__)"
    )
    done = run(installed, tmp_path, sys.executable, "-c", code)
    name, *files = done.stdout.split()
    assert name == "foreign"
    assert all(file.startswith(str(installed)) for file in files)
    assert not (installed / "tools").exists()


def test_every_source_is_in_the_wheel(installed):
    for room, place in {
        "vo": "vo",
        "datasets": "vo/datasets",
        "depth": "vo/depth",
        "tools": "vo/tools",
    }.items():
        page = (ROOT / "tools/reporting/assets").iterdir() if room == "tools" else ()
        for source in [*(ROOT / room).rglob("*.py"), *page]:
            assert (installed / place / source.relative_to(ROOT / room)).is_file(), source


@pytest.mark.parametrize("command", ["vo-data", "vo-eval", "vo-run"])
def test_commands_answer_from_another_folder(installed, tmp_path, command):
    done = run(installed, tmp_path, installed / "bin" / command, "--help")
    assert done.returncode == 0, done.stderr
    assert f"usage: {command}" in done.stdout


def test_street_is_drawn_by_processes_of_the_installed_package(installed, tmp_path):
    command = [installed / "bin" / "vo-data", "street", "--seq", "00", "--size", "96", "32"]
    done = run(installed, tmp_path, *command, "--frames", "32", "--out", "street", "--workers", "2")
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "street/sequences/00/image_2").iterdir())) == 32


def test_type_checker_reads_every_package():
    """It walks down from what it is given, but not into links: each has to be named."""
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    given = {entry.removeprefix("build/typing/vo/") for entry in tool["pyright"]["include"]}
    folders = tool["setuptools"]["package-dir"]
    assert folders.keys() == set(tool["setuptools"]["packages"])
    left_out = [name for name, folder in folders.items() if Path(folder).parts[0] not in given]
    assert not left_out
