import subprocess
import sys

import pytest

COUNT_FAULTS = """
import resource
import torch
from vo.tools.training.memory import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        torch.zeros(24, 16, 96, 320)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
before = faults()
assert keep_freed_memory()
for _ in range(8):  # until there is room for them between smaller blocks
    faults()
print(before, faults())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc alone")
def test_large_blocks_are_not_cleared_anew_each_time():
    done = subprocess.run(
        [sys.executable, "-c", COUNT_FAULTS], capture_output=True, text=True, check=True
    )
    before, after = map(int, done.stdout.split())
    assert after < 0.1 * before
