"""Several processes of one command, as ``torchrun`` starts them: which one this is, how they agree.

Without torchrun there is one, and nothing here costs anything. With it, every process runs the same
program; one of them, the writer, is the only one that writes files and speaks. What one process
raises ends all of them, and is told once.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from vo.datasets.errors import InputError

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

Item = TypeVar("Item")

# One process may have a long drive to run while the others wait for its numbers. A process that
# died is noticed at once; this is for one that hangs.
PATIENCE_S = 3600.0
# torchrun ends all as soon as one has ended: the one that has something to say goes first.
_LET_SPEAK_S = 2.0
# Gloo's threads drop the tensors of the last exchange a moment after it, for which they need the
# interpreter: one that ends meanwhile aborts.
_LET_DROP_S = 0.5
_FAILED = "failed"  # key of the store: which process failed first


@dataclass(frozen=True, slots=True)
class Ranks:
    """One process among those of a command.

    Attributes:
        rank: number of this process, from 0.
        size: number of processes.
        local: number of this process on its machine.
        restarts: how often torchrun has started the processes again after one had died.
        launch: the same for all processes and restarts of one torchrun, and for no other; empty
            without torchrun.
    """

    rank: int = 0
    size: int = 1
    local: int = 0
    restarts: int = 0
    launch: str = ""

    @property
    def is_writer(self) -> bool:
        """Whether this process is the one that writes files and speaks."""
        return self.rank == 0

    def device(self, asked: str) -> str:
        """The device of this process: of several GPUs (``cuda``) its own, else what was asked for.

        Raises:
            InputError: when the machine has fewer GPUs than processes.
        """
        if asked != "cuda" or self.size == 1:
            return asked
        import torch

        found = torch.cuda.device_count()
        if self.local >= found:
            problem = f"is cuda, but this machine has {found} GPUs for process {self.local + 1}"
            raise InputError("--device", problem, f"give torchrun --nproc-per-node {found}")
        torch.cuda.set_device(self.local)
        return f"cuda:{self.local}"

    def share(self, items: Sequence[Item]) -> list[Item]:
        """Items rank, rank + size, rank + 2 size, ... of a list."""
        return list(items[self.rank :: self.size])

    def gather(self, item: Item) -> list[Item]:
        """What every process has, in the order of ranks; all of them must call it."""
        if self.size == 1:
            return [item]
        import torch.distributed

        items: list[Any] = [None] * self.size
        torch.distributed.all_gather_object(items, item)
        return items

    def unshare(self, parts: Sequence[Item]) -> list[Item]:
        """The whole list, in its order, from what every process made of its `share`."""
        shares = self.gather(list(parts))
        return [shares[i % self.size][i // self.size] for i in range(sum(map(len, shares)))]

    def broadcast(self, item: Item) -> Item:
        """What the writer has; all must call it."""
        if self.size == 1:
            return item
        import torch.distributed

        items: list[Any] = [item if self.is_writer else None]
        torch.distributed.broadcast_object_list(items, src=0)
        return items[0]

    def writer_first(self, action: Callable[[], Item]) -> Item:
        """The result of an action that the writer does before the others do it, each its own:
        what the first one writes or renders, the others find."""
        if self.is_writer:
            result = action()
            self.barrier()
            return result
        self.barrier()
        return action()

    def barrier(self) -> None:
        """Wait until all are here."""
        self.gather(None)


ALONE = Ranks()


def ranks_of_environment() -> Ranks:
    """This process, as the variables say that torchrun sets; nothing is connected."""
    given = os.environ
    if "RANK" not in given or "WORLD_SIZE" not in given:
        return ALONE
    launch = given.get("TORCHELASTIC_RUN_ID", "none")
    if launch == "none":  # started with a fixed rendezvous, which has no name of its own
        launch = f"{socket.gethostname()} {os.getppid()}"
    return Ranks(
        rank=int(given["RANK"]),
        size=int(given["WORLD_SIZE"]),
        local=int(given.get("LOCAL_RANK", "0")),
        restarts=int(given.get("TORCHELASTIC_RESTART_COUNT", "0")),
        launch=launch,
    )


@contextmanager
def ranks(remedy: str = "start again") -> Iterator[Ranks]:
    """Connect the processes that torchrun has started: gloo on the CPU, NCCL between GPUs.

    When one raises, that exception goes on; the others, which only see that it has gone, leave
    with SystemExit and no word.

    Args:
        remedy: what to do, besides seeing what ended it, when a process is lost.

    Raises:
        InputError: when another process was killed or does not answer.
    """
    me = ranks_of_environment()
    if me.size == 1:
        yield me
        return
    # Of warnings that tell a user nothing, such as that a search for unused weights found none.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    import torch
    import torch.distributed as dist
    from torch.distributed.distributed_c10d import PrefixStore

    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    patience = timedelta(seconds=PATIENCE_S)
    begin = dist.rendezvous  # pyright: ignore[reportPrivateImportUsage]
    common, _, _ = next(begin("env://", timeout=patience))
    common.set_timeout(patience)
    # It may outlive a restart, with what the processes before had told each other.
    store = PrefixStore(f"vo/{me.restarts}", common)
    dist.init_process_group(
        backend, store=store, rank=me.rank, world_size=me.size, timeout=patience
    )
    try:
        yield me
        me.barrier()
    except BaseException as error:
        if isinstance(error, SystemExit) and not error.code:
            raise
        if not _is_first_to_fail(store, me):
            time.sleep(_LET_SPEAK_S)
            raise SystemExit(2) from None
        if _is_lost(error):
            what = " ".join(str(error).split())[:120]
            problem = f"another process has gone or does not answer ({what})"
            what_to_do = f"see what ended it and {remedy}"
            raise InputError(f"process {me.rank} of {me.size}", problem, what_to_do) from error
        raise
    # After a failure the end of the process closes its connections: NCCL could wait here.
    dist.destroy_process_group()
    time.sleep(_LET_DROP_S)


@contextmanager
def quiet_but_writer(me: Ranks) -> Iterator[None]:
    """Let the writer alone print; what is raised goes through."""
    if me.is_writer:
        yield
        return
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield


def _is_first_to_fail(store: Store, me: Ranks) -> bool:
    """Whether no other process has failed before; False as well where nobody can be asked."""
    try:
        return store.compare_set(_FAILED, "", str(me.rank)).decode() == str(me.rank)
    except Exception:  # the store has gone together with the process that kept it
        return False


def _is_lost(error: BaseException) -> bool:
    """Whether it says that another process cannot be reached, and nothing of this one."""
    import torch.distributed as dist

    if isinstance(error, dist.DistError):
        return True
    return isinstance(error, RuntimeError) and ("gloo" in str(error) or "NCCL" in str(error))
