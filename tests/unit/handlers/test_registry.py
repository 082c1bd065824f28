"""Finding task types: built-in ones, and those of installed packages."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from headrace.handlers import (
    Context,
    DuplicateType,
    EntryPointBroken,
    RegistrationError,
    Registry,
    handler,
    load_registry,
)
from headrace.handlers import entry_points as loading
from headrace.handlers.registry import ENTRY_POINT_GROUP


def make_type(name: str) -> Any:
    def f(ctx: Context, payload: Any) -> None: ...

    return handler(name)(f)


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Pretend that packages with these entry points are installed."""

    def do(modules: dict[str, dict[str, Any]], points: dict[str, str]) -> None:
        for name, content in modules.items():
            module = ModuleType(name)
            vars(module).update(content)
            monkeypatch.setitem(sys.modules, name, module)
        found = [EntryPoint(n, v, ENTRY_POINT_GROUP) for n, v in points.items()]
        monkeypatch.setattr(loading, "entry_points", lambda group: found)

    return do


def test_types_come_from_the_process_and_from_entry_points(install: Any) -> None:
    photos = {"resize": make_type("resize"), "crop": make_type("crop"), "unrelated": 3}
    install(
        {"photos_pkg": photos, "mail_pkg": {"send": make_type("send")}},
        {"photos": "photos_pkg", "mail": "mail_pkg:send"},
    )
    registry = load_registry([make_type("builtin")])
    assert registry.names() == ["builtin", "crop", "resize", "send"]
    assert registry.get("resize") is photos["resize"]
    assert registry.get("nothing") is None
    assert [t.name for t in registry.types()] == registry.names()


def test_a_type_that_two_modules_hold_is_one_type(install: Any) -> None:
    shared = make_type("shared")
    install({"a_pkg": {"x": shared}, "b_pkg": {"y": shared}}, {"a": "a_pkg", "b": "b_pkg"})
    assert load_registry().names() == ["shared"]


def test_two_types_of_one_name_are_refused(install: Any) -> None:
    install(
        {"a_pkg": {"x": make_type("same")}, "b_pkg": {"x": make_type("same")}},
        {"a": "a_pkg", "b": "b_pkg"},
    )
    with pytest.raises(DuplicateType, match="'same' is registered twice"):
        load_registry()


def test_an_entry_point_that_cannot_be_imported_is_named(install: Any) -> None:
    install({}, {"photos": "no_such_package.tasks"})
    with pytest.raises(EntryPointBroken, match=r'photos = "no_such_package.tasks".*No module'):
        load_registry()


def test_an_entry_point_that_fails_names_the_line_of_its_own_module(
    install: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_pkg.py").write_text("import json\n\nrules = json.loads('{')\n")
    monkeypatch.syspath_prepend(tmp_path)
    install({}, {"broken": "broken_pkg"})
    with pytest.raises(EntryPointBroken, match=r"JSONDecodeError: .*broken_pkg\.py, line 3\)"):
        load_registry()


@pytest.mark.parametrize("target", ["empty_pkg", "empty_pkg:number", "empty_pkg:missing"])
def test_an_entry_point_without_a_task_type_is_named(install: Any, target: str) -> None:
    install({"empty_pkg": {"number": 3}}, {"empty": target})
    with pytest.raises(EntryPointBroken, match=f'empty = "{target}"'):
        load_registry()


def test_chosen_types_keep_the_order_asked_for() -> None:
    registry = Registry([make_type("a"), make_type("b"), make_type("c")])
    assert [t.name for t in registry.chosen(["c", "a", "c"])] == ["c", "a"]
    assert [t.name for t in registry.chosen([])] == ["a", "b", "c"]


def test_choosing_an_unknown_type_names_it_and_those_that_are_known() -> None:
    with pytest.raises(RegistrationError, match="no handler is installed for x: known are a"):
        Registry([make_type("a")]).chosen(["a", "x"])
