"""The output that the documentation shows is the real one, but for ids, times and addresses."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.integration.cli.conftest import Headrace
from tests.integration.client.conftest import System

ROOT = Path(__file__).parents[3]
_FENCE = re.compile(r"^```console\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_SHOWN = re.compile(r"^\$ headrace (.+)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)

SAME = (
    (r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID"),
    (r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z| UTC)?", "TIME"),
    (r"\d+[smhd] ago", "AGO"),
    (r"\bin \d+[smhd]", "IN"),
    (r"https?://127.0.0.1:\d+", "API"),
    (r"redis://[\w.]+:\d+/0", "REDIS"),
    (r"(worker +)\S+-\d+-[0-9a-f]{6}", r"\1WORKER"),
    (r"(?:Redis|Valkey) \d+\.\d+\.\d+", "SERVER"),
    (r"differ by \d\.\d s", "differ"),
    (r"\d+ records", "records"),
    (r" +", " "),
)
"""What differs from run to run, and the widths of columns that go with it."""


def same(text: str) -> list[str]:
    for pattern, name in SAME:
        text = re.sub(pattern, name, text)
    return [line.strip() for line in text.strip().splitlines()]


@pytest.fixture
def failed(headrace: Headrace) -> None:
    """A failed task, for `ls` and `retry`, and no other."""
    waiting = headrace("ls", "--status", "pending", "-o", "id").stdout.split()
    if waiting:
        headrace("cancel", *waiting)
    ended = headrace("ls", "-o", "id").stdout.split()
    if ended:
        headrace("rm", *ended)
    headrace("submit", "act", '["give up"]', "--tag", "night", "--wait", status=7)


@pytest.mark.parametrize("page", ["docs/cli.md", "README.md", "README.zh-CN.md"])
def test_the_output_that_a_page_shows_is_the_real_one(
    page: str, headrace: Headrace, system: System, failed: None
) -> None:
    fences = _FENCE.findall((ROOT / page).read_text(encoding="utf-8"))
    shown = [found for fence in fences for found in _SHOWN.findall(fence)]
    assert "ls" in dict(shown)
    task_id = ""
    for command, output in shown:
        arguments = command.replace("redis://localhost:6379/0", system.redis.url)
        arguments = re.sub(SAME[0][0], task_id, arguments)
        real = headrace(*shlex.split(arguments), status=None).output
        assert same(real) == same(output), f"$ headrace {command}\n{real}"
        if arguments.endswith("-o id"):
            task_id = real.strip()
