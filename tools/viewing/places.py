"""Where a view is shown: a window, a page in the browser, a file; any of them, or none."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Annotated
from urllib.parse import quote

import tyro

from vo.datasets.errors import InputError
from vo.tools.new_file import demand_new

LOOPBACK, PAGE_PORT, WINDOW_PORT = "127.0.0.1", 9090, 9876
START_S = 20.0  # for a viewer to answer
STOP_S = 5.0
PR_SET_PDEATHSIG = 1  # of linux/prctl.h
ServeFlag = Annotated[tuple[str, ...] | None, tyro.conf.arg(metavar="[[HOST:]PORT]")]
RrdFlag = Annotated[Path | None, tyro.conf.arg(metavar="FILE")]


@dataclass(frozen=True, slots=True)
class Address:
    """Where the page is served, and on the next port its data.

    Attributes:
        host: name or number of the interface; loopback is seen by this machine only.
        port: of the page.
    """

    host: str = LOOPBACK
    port: int = PAGE_PORT

    @property
    def page(self) -> str:
        """What to open in a browser."""
        data = quote(self.data, safe="")
        return f"http://{self._name}:{self.port}/?url={data}"

    @property
    def data(self) -> str:
        """What a viewer connects to."""
        return data_url(self._name, self.port + 1)

    @property
    def _name(self) -> str:
        everywhere = self.host in ("0.0.0.0", "::")
        name = socket.gethostname() if everywhere else self.host
        return f"[{name}]" if ":" in name else name


@dataclass(frozen=True, slots=True)
class Places:
    """Where the views of a command go.

    Attributes:
        urls: viewers that wait for data.
        rrd: file to write, which does not exist yet, or None.
        page: what to open in a browser, or None.
        server: the program that serves it.
    """

    urls: tuple[str, ...] = ()
    rrd: Path | None = None
    page: str | None = None
    server: subprocess.Popen[bytes] | None = None

    def __bool__(self) -> bool:
        """Whether there is anything to show to."""
        return bool(self.urls) or self.rrd is not None

    def stay(self, say: Callable[[str], None]) -> None:
        """Keep the page, if there is one, until somebody interrupts."""
        if self.server is None:
            return
        with suppress(KeyboardInterrupt):
            if self.server.poll() is None:
                say(f"the view stays at {self.page} until Ctrl-C")
            self.server.wait()
        say("the view has ended")


def data_url(host: str, port: int) -> str:
    """The address of a viewer's data, as Rerun writes it."""
    return f"rerun+http://{host}:{port}/proxy"


def read_address(words: tuple[str, ...]) -> Address:
    """The address that --serve was given: nothing, PORT, or HOST:PORT.

    Raises:
        InputError: when it is none of them.
    """
    if not words:
        return Address()
    host, _, port = words[0].rpartition(":")
    remedy = f"give --serve, --serve {PAGE_PORT} or --serve 0.0.0.0:{PAGE_PORT}"
    if len(words) > 1 or not port.isascii() or not port.isdecimal():
        raise InputError("--serve", f"{' '.join(words)[:80]!r} is no port", remedy)
    if not 0 < int(port) < 65535:
        raise InputError("--serve", f"port {port[:20]} and the next one are not both ports", remedy)
    return Address(host.strip("[]") or LOOPBACK, int(port))


@contextmanager
def open_places(
    view: bool,
    rrd: Path | None,
    serve: tuple[str, ...] | None,
    warn: Callable[[str], None] | None = None,
) -> Iterator[Places]:
    """Start what is to show the view; the page ends with the block, the window does not.

    Args:
        view: whether to open a window.
        rrd: file to write, or None.
        serve: address of a page, see `read_address`, or None.
        warn: takes a line when there can be no window, so that the work goes on without it; None
            to raise it.

    Raises:
        InputError: when the file exists, when an address is wrong or taken, and when there can be
            no window.
    """
    demand_new("--rrd", rrd)
    urls, page, server = [], None, None
    with ExitStack() as stack:
        if serve is not None:
            address = read_address(serve)
            server = stack.enter_context(_page(address))
            urls.append(data_url(_reached(address.host), address.port + 1))
            page = address.page
        if view:
            try:
                _open_window()
                urls.append(data_url(LOOPBACK, WINDOW_PORT))
            except InputError as error:
                if warn is None:
                    raise
                warn(f"no window: {error.problem}; {error.remedy}")
        yield Places(tuple(urls), rrd, page, server)


def _reached(host: str) -> str:
    """The name by which this machine itself reaches an interface."""
    name = {"0.0.0.0": LOOPBACK, "::": "::1"}.get(host, host)
    return f"[{name}]" if ":" in name else name


@contextmanager
def _page(address: Address) -> Iterator[subprocess.Popen[bytes]]:
    """Rerun's viewer for the browser and the server of its data, in a process of their own."""
    for port in (address.port, address.port + 1):
        _demand_free(address.host, port)
    words = ["--serve-web", "--bind", address.host, "--port", str(address.port + 1)]
    words += ["--web-viewer-port", str(address.port)]
    if address.host not in (LOOPBACK, "::1", "localhost"):
        words += ["--cors-allow-origin", f"http://*:{address.port}"]
    with tempfile.TemporaryFile() as said:
        process = _start(words, said, _end_with_parent())
        try:
            for port in (address.port, address.port + 1):
                _wait_for(process, said, _reached(address.host), port, "--serve")
            yield process
        finally:
            _stop(process)


def _program() -> str:
    """Rerun's program itself, as installed with its package: its Python wrapper would end before
    it does."""
    spec = find_spec("rerun_cli")
    if spec is None or spec.origin is None:
        raise InputError("rerun", "is not installed", "pip install rerun-sdk")
    folder = Path(spec.origin).parent
    bundle = folder / "Rerun.app/Contents/MacOS/Rerun"
    return str(bundle if bundle.exists() else folder / "rerun")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the program, if need be by force."""
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _open_window() -> None:
    """Rerun's viewer in a window, unless one is open already; it outlives this process."""
    if _answers(LOOPBACK, WINDOW_PORT):
        return
    screens = ("DISPLAY", "WAYLAND_DISPLAY", "WAYLAND_SOCKET")
    if sys.platform.startswith("linux") and not any(map(os.environ.get, screens)):
        raise InputError("--view", "there is no screen here", "use --serve or --rrd FILE")
    words = ["--port", str(WINDOW_PORT), "--bind", LOOPBACK]
    words += ["--expect-data-soon", "--hide-welcome-screen"]
    with tempfile.TemporaryFile() as said:
        _wait_for(_start(words, said), said, LOOPBACK, WINDOW_PORT, "--view")


def _end_with_parent() -> Callable[[], None] | None:
    """What lets the kernel end a new process with the one that starts it, even if that is killed;
    None where no kernel does."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None).prctl  # looked up here: little may be done between fork and exec
    return lambda: prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM))


def _start(
    words: list[str], said: IO[bytes], preexec_fn: Callable[[], None] | None = None
) -> subprocess.Popen[bytes]:
    """Rerun's program, in a session of its own: Ctrl-C in the terminal is not meant for it."""
    # Its own messages are of interest only when it fails.
    environment = os.environ | {"NO_COLOR": "1", "RERUN_APP_ONLY": "true"}
    return subprocess.Popen(
        [_program(), *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=said,
        env=environment,
        start_new_session=True,
        preexec_fn=preexec_fn,
    )


def _wait_for(
    process: subprocess.Popen[bytes], said: IO[bytes], host: str, port: int, flag: str
) -> None:
    """Until the program answers; InputError with its last words when it ends before."""
    until = time.monotonic() + START_S
    while not _answers(host.strip("[]"), port):
        if process.poll() is not None:
            said.seek(0)
            lines = said.read().decode(errors="replace").split("\n")
            words = [line for line in lines if "rror" in line] or lines
            problem = f"Rerun's viewer ended at once: {' '.join(words[0].split())[:200]}"
            raise InputError(flag, problem, "use --rrd FILE")
        if time.monotonic() > until:
            _stop(process)
            problem = f"Rerun's viewer does not answer within {START_S:.0f} s"
            raise InputError(flag, problem, "use --rrd FILE")
        time.sleep(0.05)


def _answers(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False


def _demand_free(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            problem = f"{host}:{port} cannot be used: {error.strerror or error}"
            raise InputError("--serve", problem, "give another HOST:PORT") from error
