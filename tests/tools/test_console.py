"""What the console makes of text that strangers have written."""

from __future__ import annotations

import io
import logging

import pytest

from vo.datasets.errors import InputError
from vo.tools.console import PlainConsole, console, plain, print_table, run
from vo.tools.tables import new_table

HOSTILE = "09[/][bold red]\x1b[2J\x1b]0;title\x07\x9b1m\u202e:smile:\udcff\r"
SHOWN = r"09[/][bold red]\x1b[2J\x1b]0;title\x07\x9b1m\u202e:smile:\udcff\r"


def test_lines_and_tables_show_text_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    console.print(HOSTILE, soft_wrap=True)
    table = new_table(("sequence[/]",), ("n",))
    table.add_row(HOSTILE, "[/]")
    print_table(table)
    line, head, row = capsys.readouterr().out.splitlines()
    assert line == SHOWN
    assert head.split() == ["sequence[/]", "n"]
    assert row.split(" ") == [*SHOWN.split(" "), "[/]"]


def test_a_terminal_gets_no_command_of_a_stranger() -> None:
    file = io.StringIO()
    terminal = PlainConsole(file=file, force_terminal=True, width=200, color_system="truecolor")
    terminal.print(HOSTILE, soft_wrap=True)
    assert file.getvalue() == f"{SHOWN}\n"


def test_errors_and_warnings_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> None:
        assert logging.lastResort is not None
        logging.lastResort.handle(logging.makeLogRecord({"msg": HOSTILE, "levelno": 30}))
        raise InputError(f"/data/{HOSTILE}\n", "is [/]", "\x1b[31m")

    with pytest.raises(SystemExit) as end:
        run(command)
    assert end.value.code == 2
    warning, error = capsys.readouterr().err.splitlines()
    assert warning == f"warning: {SHOWN}"
    assert error == "error: /data/" + SHOWN.removesuffix(r"\r") + r" : is [/]; \x1b[31m"


def test_plain_text_stays(capsys: pytest.CaptureFixture[str]) -> None:
    text = "größer als 1 µm\t– 東京 🙂\nzweite Zeile"
    assert plain(text) == text
    console.print(text, soft_wrap=True)
    assert "東京 🙂" in capsys.readouterr().out
