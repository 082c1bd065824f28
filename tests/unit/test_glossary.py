"""One name a thing: the code has the names of docs/glossary.md, and none that it rules out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.identifiers import ROOT, Identifier, identifiers, tracked
from tests.unit.api.harness import api_settings, running

PAGE = ROOT / "docs" / "glossary.md"
COLUMNS = ("thing", "what it is", "Python", "Lua", "HTTP", "not")
OURS = ("headrace/", "services/", "controller/")
_NAMES = re.compile(r"`([^`]+)`")
_FORBIDDEN = re.compile(r"`([^`]+)`(?: in `([^`]+)`)?")


@dataclass(frozen=True)
class Term:
    """A line of the glossary."""

    thing: str
    python: tuple[str, ...]
    lua: tuple[str, ...]
    http: tuple[str, ...]
    forbidden: tuple[tuple[str, str], ...]
    """A name, and the folder in which it is forbidden: '' for everywhere."""

    def __str__(self) -> str:
        return self.thing


def terms(text: str) -> Iterator[Term]:
    """The lines of all tables."""
    for line in text.splitlines():
        cells = tuple(cell.strip() for cell in line.strip().strip("|").split("|"))
        if not line.startswith("|") or cells == COLUMNS or set(line) <= set("|-"):
            continue
        thing, _, python, lua, http, forbidden = cells
        yield Term(
            thing,
            tuple(_NAMES.findall(python)),
            tuple(_NAMES.findall(lua)),
            tuple(_NAMES.findall(http)),
            tuple(_FORBIDDEN.findall(forbidden)),
        )


TERMS = list(terms(PAGE.read_text(encoding="utf-8")))


def forbids(name: str, identifier: Identifier) -> bool:
    """Whether an identifier is the forbidden name, or has it among its words."""
    if not name.islower():
        return identifier.name.strip("_") == name
    words, wanted = identifier.words, Identifier(name, "", 0).words
    starts = range(len(words) - len(wanted) + 1)
    return any(words[start : start + len(wanted)] == wanted for start in starts)


def misnamed(found: Sequence[Identifier], terms: Sequence[Term]) -> list[str]:
    """What has a forbidden name: where it is, and the name to use."""
    return [
        f"{identifier.path}:{identifier.line}: {identifier.name!r}: "
        f"it is called {term.thing!r} (docs/glossary.md)"
        for term in terms
        for name, folder in term.forbidden
        for identifier in found
        if identifier.path.startswith(folder) and forbids(name, identifier)
    ]


@pytest.fixture(scope="module")
def defined() -> Sequence[Identifier]:
    return identifiers()


def test_nothing_has_a_name_that_the_glossary_rules_out(defined: Sequence[Identifier]) -> None:
    # A test may be named for what it proves: "a replay is refused".
    named = [found for found in defined if not found.name.startswith("test_")]
    assert misnamed(named, TERMS) == []


@pytest.mark.parametrize("term", TERMS, ids=str)
def test_every_name_of_the_glossary_is_used_in_python(
    term: Term, defined: Sequence[Identifier]
) -> None:
    used = {found.name for found in defined if found.path.startswith(OURS)}
    used |= {part for path in tracked("*.py") for part in Path(path).parts}
    assert set(term.python) <= used


@pytest.mark.parametrize("term", TERMS, ids=str)
def test_every_name_of_the_glossary_is_used_in_lua(
    term: Term, defined: Sequence[Identifier]
) -> None:
    scripts = tracked("*.lua")
    used = {found.name for found in defined if found.path.endswith(".lua")}
    used |= {Path(path).name for path in scripts}
    text = "".join((ROOT / path).read_text(encoding="utf-8") for path in scripts)
    keys = {name for name in term.lua if name.endswith(":") and f"'{name}'" in text}
    assert set(term.lua) <= used | keys


async def test_every_name_of_the_glossary_is_used_over_http(tmp_path: Path) -> None:
    async with running(api_settings(tmp_path)) as api:
        document = (await api.get("/openapi.json")).json()
    used = set(names_of(document))
    assert [name for term in TERMS for name in term.http if name not in used] == []
    described = [Identifier(name.replace("-", "_"), "openapi.json", 0) for name in sorted(used)]
    assert misnamed(described, TERMS) == []


def names_of(document: dict[str, Any]) -> Iterator[str]:
    """The names in an OpenAPI document: parts of paths, parameters, properties, operations."""
    for path in document["paths"]:
        yield from re.findall(r"[\w-]+", path)
    yield from _names_in(document)


def _names_in(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from value.get("properties", {})
        name = value.get("operationId", value.get("name") if "in" in value else None)
        if isinstance(name, str):
            yield name
        for inner in value.values():
            yield from _names_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _names_in(inner)


def test_a_class_of_the_glossary_is_defined_once(defined: Sequence[Identifier]) -> None:
    named = {name for term in TERMS for name in term.python if name[0].isupper()}
    counts = Counter(
        found.name
        for found in defined
        if found.is_class and found.path.startswith(("headrace/", "services/"))
    )
    assert {name: counts[name] for name in named if counts[name] > 1} == {}


TERM = Term("task", (), (), (), (("job", ""), ("Order", "services/")))


@pytest.mark.parametrize(
    ("name", "path", "refused"),
    [
        ("job", "headrace/a.py", True),
        ("NewJob", "headrace/a.py", True),
        ("_job_id", "tests/a.py", True),
        ("jobless", "headrace/a.py", False),
        ("Order", "services/a.py", True),
        ("Order", "headrace/a.py", False),
        ("order", "services/a.py", False),
        ("OrderBook", "services/a.py", False),
    ],
)
def test_a_forbidden_name_is_found_with_file_line_and_the_name_to_use(
    name: str, path: str, refused: bool
) -> None:
    found = misnamed([Identifier(name, path, 7)], [TERM])
    message = f"{path}:7: {name!r}: it is called 'task' (docs/glossary.md)"
    assert found == ([message] if refused else [])
