"""The architecture's arrow: datasets <- depth <- vo <- tools; nothing imports to its right."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ["datasets", "depth", "vo", "tools"]
SOURCES = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]


def room_of_module(module: str) -> str:
    """Room of a dotted module: vo.datasets.tum is in datasets, vo.trajectory in vo."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in ROOMS else "vo"


def imported_modules(source: Path) -> set[str]:
    modules = set()
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{source}: relative imports hide the room"
            modules |= {f"{node.module}.{alias.name}" for alias in node.names}
    return modules


@pytest.mark.parametrize("source", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_left(source: Path):
    own = ROOMS.index(source.relative_to(ROOT).parts[0])
    for module in imported_modules(source):
        if module.split(".")[0] == "vo" and module != "vo.__version__":
            room = room_of_module(module)
            assert ROOMS.index(room) <= own, f"{source} imports {module}, which is to its right"


def test_open3d_and_rerun_stay_in_their_rooms():
    allowed = {
        "open3d": {"datasets/street/render.py", "tools/mapping/mesh.py"},
        "rerun": {"tools/viewing/viewer.py"},
    }
    for source in SOURCES:
        for module in imported_modules(source):
            top = module.split(".")[0]
            if top in allowed:
                assert str(source.relative_to(ROOT)) in allowed[top], f"{source} imports {module}"


def test_importing_the_package_loads_nothing_heavy():
    heavy = ["numpy", "cv2", "open3d", "torch", "matplotlib", "evo", "rerun", "av"]
    code = (
        "import sys, vo, vo.datasets, vo.depth, vo.tools;"
        f"print([m for m in {heavy!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
