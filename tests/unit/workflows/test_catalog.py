"""The catalog of a folder: what is in it, what is left out, and when it is read again."""

from __future__ import annotations

import errno
import os
import resource
import tracemalloc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from headrace.workflows import Catalog, Workflow, parse
from headrace.workflows.catalog import fingerprint
from headrace.workflows.expressions.checker import Checker
from headrace.workflows.model import CalledFunction


def text(name: str = "sample", version: str = "1.0.0", value: int = 1) -> str:
    return (
        f"document: {{dsl: '1.0.3', namespace: test, name: {name}, version: '{version}'}}\n"
        f"do:\n  - step: {{set: {{x: {value}}}}}\n"
    )


def write(folder: Path, name: str, content: str) -> None:
    (folder / name).write_text(content)


def test_the_latest_version_is_found_by_id_and_each_by_its_own(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml", text(version="1.9.0"))
    write(tmp_path, "b.yml", text(version="1.10.0"))
    write(tmp_path, "c.json", '{"document": {"dsl": "1.0.0", "namespace": "n", "name": "other", '
          '"version": "0.1.0"}, "do": []}')  # fmt: skip
    catalog = Catalog.load(tmp_path)
    assert catalog.errors == []
    assert {name: flow.version for name, flow in catalog.workflows.items()} == {
        "sample": "1.10.0",
        "other": "0.1.0",
    }
    latest, earlier = catalog.get("sample"), catalog.get("sample", "1.9.0")
    assert latest is not None
    assert latest.version == "1.10.0"
    assert earlier is not None
    assert earlier.version == "1.9.0"
    assert catalog.by_sha256(latest.definition_sha256) is latest
    assert catalog.by_sha256(earlier.definition_sha256) is earlier
    assert catalog.by_sha256("0" * 64) is None
    assert catalog.get("sample", "3.0.0") is None
    assert catalog.get("nothing") is None


def test_a_broken_file_does_not_take_the_others_away(tmp_path: Path) -> None:
    write(tmp_path, "bad.yaml", text("bad").replace("set:", "switch:"))
    write(tmp_path, "good.yaml", text("good"))
    (tmp_path / "gone.yaml").symlink_to(tmp_path / "nowhere")
    catalog = Catalog.load(tmp_path)
    assert list(catalog.workflows) == ["good"]
    bad, gone = catalog.errors
    assert (bad.file, bad.line, bad.task) == ("bad.yaml", 3, "step")
    assert gone.file == "gone.yaml"
    assert "cannot be read" in gone.reason


HOSTILE = {
    "a number of 5,000 digits": text("bad").replace("x: 1", f"x: {'9' * 5_000}"),
    "a version of 5,000 digits": text("bad", version=f"1.0.{'9' * 5_000}"),
    "a hexadecimal number of 5,000 digits": text("bad").replace("x: 1", f"x: 0x{'f' * 5_000}"),
    "an error about a text of 500,000 characters": text(f"bad{'-' * 500_000}"),
    "a long key above many values": f"? {'k' * 400_000}\n: [{'1,' * 90_000}]",
    "a long text behind many aliases": f"a: &a '{'k' * 400_000}'\nb: [{'*a,' * 90_000}]",
    "many levels": "[" * 500_000,
    "no text": "\0",
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
def test_whatever_is_wrong_with_a_file_the_others_stay(tmp_path: Path, content: str) -> None:
    write(tmp_path, "bad.yaml", content)
    write(tmp_path, "good.yaml", text("good"))
    catalog = Catalog.load(tmp_path)
    assert list(catalog.workflows) == ["good"]
    (error,) = catalog.errors
    assert error.file == "bad.yaml"
    assert len(str(error)) < 2_000
    write(tmp_path, "later.yaml", text("later"))
    assert catalog.refresh()
    assert set(catalog.workflows) == {"good", "later"}


def test_a_defect_of_the_reader_is_the_error_of_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "bad.yaml", text("bad"))
    write(tmp_path, "good.yaml", text("good"))

    def defective(
        content: bytes, file: str, checker: Checker, functions: Mapping[str, CalledFunction]
    ) -> Workflow:
        if file == "bad.yaml":
            raise IndexError("out of range")
        return parse(content, file, checker, functions)

    monkeypatch.setattr("headrace.workflows.catalog.parse", defective)
    catalog = Catalog.load(tmp_path)
    assert list(catalog.workflows) == ["good"]
    assert "IndexError('out of range')" in catalog.errors[0].reason


def test_a_fifo_a_folder_and_a_device_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.yaml")
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "null.yaml").symlink_to("/dev/null")
    write(tmp_path, "good.yaml", text("good"))
    catalog = Catalog.load(tmp_path)
    assert list(catalog.workflows) == ["good"]
    assert [(error.file, error.reason) for error in catalog.errors] == [
        (f"{name}.yaml", "this is not a regular file") for name in ("fifo", "folder", "null")
    ]


def test_a_file_over_the_limit_is_not_read(tmp_path: Path) -> None:
    write(tmp_path, "good.yaml", text("good"))
    write(tmp_path, "sparse.yaml", "")
    os.truncate(tmp_path / "sparse.yaml", 200 * 1024 * 1024)
    tracemalloc.start()
    try:
        catalog = Catalog.load(tmp_path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert list(catalog.workflows) == ["good"]
    assert "has 209715200 bytes, the limit is 1048576" in catalog.errors[0].reason
    assert peak < 10 * 1024 * 1024


def test_a_name_that_is_no_unicode_is_shown_so_that_it_can_be_sent(tmp_path: Path) -> None:
    with open(os.fsencode(tmp_path) + b"/bad-\xff.yaml", "w") as opened:
        opened.write("nothing")
    (error,) = Catalog.load(tmp_path).errors
    assert error.file == r"bad-\xff.yaml"
    assert str(error).encode()


def test_a_file_that_becomes_readable_is_read(tmp_path: Path) -> None:
    """Root may read whatever its mode is, so the file's times stand for the mode."""
    write(tmp_path, "a.yaml", text())
    seen = fingerprint(tmp_path)
    (tmp_path / "a.yaml").chmod(0o600)
    assert fingerprint(tmp_path) != seen


def test_a_file_that_could_not_be_read_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "a.yaml", text("a"))
    write(tmp_path, "b.yaml", text("b"))
    open_file = os.open

    def forbidden(path: Path, flags: int) -> int:
        if Path(path).name == "a.yaml":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return open_file(path, flags)

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", forbidden)
        catalog = Catalog.load(tmp_path)
        assert not catalog.refresh()  # nothing new to tell
    assert catalog.errors[0].reason == "the file cannot be read: Permission denied"
    assert catalog.refresh()
    assert set(catalog.workflows) == {"a", "b"}
    assert not catalog.refresh()


def test_an_error_names_the_workflow_that_its_file_was_to_define(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml", text("first").replace("set:", "switch:"))
    write(tmp_path, "b.yaml", text("second").replace("x: 1", "x: '${ nonsense }'"))
    write(tmp_path, "c.yaml", "[")
    write(tmp_path, "d.yaml", text("fourth", value=1))
    write(tmp_path, "e.yaml", text("fourth", value=2))
    errors = Catalog.load(tmp_path).errors
    assert [error.workflow_id for error in errors] == ["first", "second", None, "fourth"]


def test_one_name_and_version_twice_names_both_files_and_takes_neither(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml", text(value=1))
    write(tmp_path, "b.yaml", text(value=2))
    write(tmp_path, "c.yaml", text(version="0.9.0"))
    catalog = Catalog.load(tmp_path)
    (error,) = catalog.errors
    assert "a.yaml and b.yaml both define workflow 'sample' in version 1.0.0" in error.reason
    assert catalog.workflows["sample"].version == "0.9.0"


def test_other_files_are_not_looked_at(tmp_path: Path) -> None:
    for name in ("notes.txt", ".hidden.yaml", "a.yaml~"):
        write(tmp_path, name, "no workflow")
    (tmp_path / "..2026_01_01").mkdir()
    catalog = Catalog.load(tmp_path)
    assert (dict(catalog.workflows), catalog.errors) == ({}, [])


def test_a_folder_that_does_not_exist_is_an_error_until_it_does(tmp_path: Path) -> None:
    folder = tmp_path / "later"
    catalog = Catalog.load(folder)
    assert "WORKFLOWS_DIR" in catalog.errors[0].reason
    assert not catalog.refresh()
    folder.mkdir()
    write(folder, "a.yaml", text())
    assert catalog.refresh()
    assert list(catalog.workflows) == ["sample"]
    assert catalog.errors == []


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    """As in a process with too many connections: nothing more can be opened."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_workflows_stay_while_their_folder_cannot_be_looked_into(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml", text("a"))
    catalog = Catalog.load(tmp_path)
    write(tmp_path, "b.yaml", text("b"))
    with no_descriptor_left(), pytest.raises(OSError, match="Too many open files"):
        catalog.refresh()
    assert list(catalog.workflows) == ["a"]
    assert catalog.errors == []
    assert catalog.refresh()
    assert set(catalog.workflows) == {"a", "b"}


def test_workflows_stay_while_a_changed_file_cannot_be_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "a.yaml", text("a"))
    catalog = Catalog.load(tmp_path)
    write(tmp_path, "a.yaml", text("a", version="2.0.0"))

    def short(path: Path, *_: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files", str(path))

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", short)
        with pytest.raises(OSError, match="Too many open files"):
            catalog.refresh()
    assert catalog.workflows["a"].version == "1.0.0"
    assert catalog.refresh()
    assert catalog.workflows["a"].version == "2.0.0"


def test_a_folder_that_could_not_be_read_at_the_start_is_read_later(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml", text("a"))
    with no_descriptor_left():
        catalog = Catalog.load(tmp_path)
    assert "Too many open files" in catalog.errors[0].reason
    assert catalog.refresh()
    assert (list(catalog.workflows), catalog.errors) == (["a"], [])


def test_refresh_sees_new_changed_and_removed_files_only(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml", text("a"))
    catalog = Catalog.load(tmp_path)
    kept = catalog.workflows["a"]
    assert not catalog.refresh()

    write(tmp_path, "b.yaml", text("b", value=1))
    assert catalog.refresh()
    assert set(catalog.workflows) == {"a", "b"}
    assert catalog.workflows["a"] is kept  # not read again

    write(tmp_path, "b.yaml", text("b", value=10))
    os.utime(tmp_path / "b.yaml", ns=(0, 1))
    assert catalog.refresh()
    assert catalog.workflows["b"].document["do"][0]["step"]["set"] == {"x": 10}

    (tmp_path / "b.yaml").unlink()
    assert catalog.refresh()
    assert set(catalog.workflows) == {"a"}
    assert not catalog.refresh()


def test_a_config_map_s_swapped_data_is_seen(tmp_path: Path) -> None:
    """As the kubelet does it: files are links through `..data`, which is replaced by a rename."""
    for name, value in (("..2026_1", 1), ("..2026_2", 2)):
        (tmp_path / name).mkdir()
        write(tmp_path / name, "flow.yaml", text(value=value))
        os.utime(tmp_path / name / "flow.yaml", ns=(0, 0))
    (tmp_path / "..data").symlink_to("..2026_1")
    (tmp_path / "flow.yaml").symlink_to(Path("..data") / "flow.yaml")
    catalog = Catalog.load(tmp_path)
    assert catalog.errors == []
    before = catalog.workflows["sample"].definition_sha256
    assert not catalog.refresh()

    (tmp_path / "..data_tmp").symlink_to("..2026_2")
    (tmp_path / "..data_tmp").rename(tmp_path / "..data")
    assert catalog.refresh()
    assert catalog.workflows["sample"].definition_sha256 != before


def test_the_workflows_cannot_be_changed_by_their_reader(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml", text("a"))
    catalog = Catalog.load(tmp_path)
    with pytest.raises(TypeError):
        catalog.workflows["b"] = catalog.workflows["a"]  # type: ignore[index]
