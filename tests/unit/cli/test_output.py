"""What tables look like on a terminal and in a pipe."""

from __future__ import annotations

import io

import pytest
from rich.cells import cell_len

from headrace.cli import output, tables


class Terminal(io.StringIO):
    """What stdout is, on a terminal or in a pipe."""

    def __init__(self, *, tty: bool) -> None:
        super().__init__()
        self._tty = tty

    def isatty(self) -> bool:
        return self._tty


def drawn(monkeypatch: pytest.MonkeyPatch, *rows: tuple[str, str], tty: bool) -> str:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    out = Terminal(tty=tty)
    monkeypatch.setattr("sys.stdout", out)
    output.draw(tables.table(("NAME", "STATUS"), ((name, tables.status(it)) for name, it in rows)))
    return out.getvalue()


def test_it_is_in_colour_on_a_terminal_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[31mfailed" in drawn(monkeypatch, ("a", "failed"), tty=True)
    assert "\x1b" not in drawn(monkeypatch, ("a", "failed"), tty=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b" not in drawn(monkeypatch, ("a", "failed"), tty=False)


def test_no_color_takes_the_colour_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in drawn(monkeypatch, ("a", "failed"), tty=True)


def test_chinese_takes_two_columns_a_character(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = drawn(monkeypatch, ("工作流", "failed"), ("abcdef", "failed"), tty=False).splitlines()
    columns = [cell_len(line[: line.index("failed")]) for line in lines[1:]]
    assert columns == [9, 9]


def test_a_pipe_is_given_the_whole_width_and_no_spaces_at_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = drawn(monkeypatch, ("x" * 500, "failed"), tty=False)
    assert "x" * 500 in text
    assert not any(line.endswith(" ") for line in text.splitlines())


def test_data_cannot_steer_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    shown = drawn(monkeypatch, ("\x1b]0;title\x07[red]a", "failed"), tty=True)
    assert "\x1b" not in shown
    assert "\\x1b]0;title\\x07[red]a" in shown
