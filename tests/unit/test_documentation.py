"""What the documentation names is there: files behind links, make's targets, the README's code."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from headrace import TaskType

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    page
    for folder in ("*.md", "docs/**/*.md", "examples/**/*.md", "tests/*.md")
    for page in ROOT.glob(folder)
    if page.is_file()
)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file(page: Path) -> None:
    links = _LINK.findall(page.read_text(encoding="utf-8"))
    files = [link.partition("#")[0] for link in links if not re.match(r"\w+:", link)]
    missing = [file for file in files if file and not (page.parent / file).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_make_target_that_is_named_exists(page: Path) -> None:
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text("utf-8"), re.MULTILINE))
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert named <= targets


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return [body for kind, body in _FENCE.findall(text) if kind == language]


def test_the_readmes_task_type_can_be_registered() -> None:
    [code] = [code for code in blocks("README.md", "python") if "@handler" in code]
    scope: dict[str, object] = {}
    exec(code, scope)
    create = scope["create"]
    assert isinstance(create, TaskType)
    assert (create.name, create.max_retries, create.timeout_seconds) == ("thumbnail_create", 5, 60)
    assert create.payload_schema()["required"] == ["url"]


@pytest.mark.parametrize("page", ["README.md", "README.zh-CN.md"])
def test_the_readmes_command_draws_a_key(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    [command] = re.findall(r"python (-m headrace keys new [^`\n]+)", text)
    done = subprocess.run(
        [sys.executable, *shlex.split(command)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "submit:" in done.stdout


def test_both_readmes_begin_with_the_two_commands_that_are_enough() -> None:
    for page in ("README.md", "README.zh-CN.md"):
        first = blocks(page, "sh")[0]
        assert [line.split("#")[0].strip() for line in first.splitlines()] == [
            "make dev",
            "make test",
        ]


def test_every_test_that_proves_a_promise_exists() -> None:
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", (ROOT / "tests/README.md").read_text("utf-8"))
    assert len(named) > 30
    texts = {file: (ROOT / "tests" / file).read_text("utf-8") for file, _ in named}
    missing = [
        f"{file}::{name}"
        for file, name in named
        if not re.search(rf"^ *(async )?def {name}\(", texts[file], re.MULTILINE)
    ]
    assert missing == []


def test_every_place_that_a_recipe_names_exists() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([a-z_0-9]+/[\w./-]+)`", text))
    assert len(named) > 20
    missing = [place for place in named if not (ROOT / place).exists()]
    assert missing == []
