"""Which process this is, and what one of several does that is alone."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest
import torch

from vo.datasets.errors import InputError
from vo.ranks import Ranks, quiet_but_writer, ranks, ranks_of_environment


def test_without_torchrun_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    with ranks() as me:
        assert me == Ranks()
        assert me.is_writer
        assert me.gather(3) == [3]
        assert me.unshare(me.share([1, 2, 3])) == [1, 2, 3]
        assert me.broadcast("a") == me.writer_first(lambda: "a") == "a"
        assert me.device("cuda") == "cuda", "torch's current one"
    assert not torch.distributed.is_initialized()


def test_torchrun_says_which_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"RANK": 5, "WORLD_SIZE": 8, "LOCAL_RANK": 1, "TORCHELASTIC_RESTART_COUNT": 2}
    for name, value in said.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "job")
    assert ranks_of_environment() == Ranks(5, 8, 1, 2, "job")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    unnamed = ranks_of_environment().launch
    assert unnamed not in ("", "none")
    assert ranks_of_environment().launch == unnamed, "the same after a restart"


def test_shares_are_dealt_out_in_turn() -> None:
    assert [Ranks(rank, 3).share(list("abcde")) for rank in range(3)] == [
        ["a", "d"], ["b", "e"], ["c"],
    ]  # fmt: skip


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(InputError, match="has 1 GPUs for process 2; give torchrun --nproc-per-nod"):
        Ranks(1, 2, 1).device("cuda")
    assert Ranks(1, 2, 1).device("cpu") == "cpu"


def test_the_others_are_quiet_but_for_what_they_raise(capsys: pytest.CaptureFixture) -> None:
    with quiet_but_writer(Ranks(0, 2)):
        print("first")
    with quiet_but_writer(Ranks(1, 2)):
        print("second")
    with pytest.raises(InputError), quiet_but_writer(Ranks(1, 2)):
        raise InputError("a", "b")
    assert capsys.readouterr().out == "first\n"


def test_a_process_that_is_lost_is_told_with_the_remedy_of_the_command() -> None:
    program = (
        "import os, sys\n"
        "from vo.datasets.errors import InputError\n"
        "from vo.ranks import ranks\n"
        "try:\n"
        "    with ranks('try it again') as me:\n"
        "        me.barrier()\n"
        "        if me.rank == 1: os._exit(1)\n"
        "        me.barrier()\n"
        "except InputError as error:\n"
        "    sys.exit(str(error))\n"
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    both = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    first, second = (
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", program],
            env=os.environ | both | {"RANK": str(rank)}, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(2)
    )  # fmt: skip
    second.communicate(timeout=120)
    said = first.communicate(timeout=120)[1].strip()
    assert said.startswith("process 0 of 2: another process has gone")
    assert said.endswith("see what ended it and try it again")
