"""A definition's text is read as YAML 1.2 or JSON, and every value knows its line."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.workflows import DefinitionError
from headrace.workflows.reading.yaml import read_source


def read(text: str) -> Any:
    return read_source(text.encode(), "f.yaml").data


def refused(text: bytes) -> DefinitionError:
    with pytest.raises(DefinitionError) as caught:
        read_source(text, "f.yaml")
    return caught.value


def test_words_that_yaml_1_1_takes_for_booleans_and_dates_stay_text() -> None:
    text = "on: yes\nno: off\ntime: 1:30\ndate: 2024-01-01\nnumber: 1_000"
    assert read(text) == {
        "on": "yes",
        "no": "off",
        "time": "1:30",
        "date": "2024-01-01",
        "number": "1_000",
    }


def test_numbers_booleans_and_nothing_are_those_of_the_core_schema() -> None:
    text = "[017, 0o17, 0x1F, -3, 1.5, 1e3, true, FALSE, null, ~, ]"
    assert read(text) == [17, 15, 31, -3, 1.5, 1000.0, True, False, None, None]


def test_every_value_has_the_place_of_its_key() -> None:
    source = read_source(b"a:\n  b:\n    - 1\n    - c/d~: 2\n", "f.yaml")
    assert source.places == {
        "": (1, 1),
        "/a": (1, 1),
        "/a/b": (2, 3),
        "/a/b/0": (3, 7),
        "/a/b/1": (4, 7),
        "/a/b/1/c~1d~0": (4, 7),
    }


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        (b"", None, "empty"),
        (b"# only a comment\n", None, "empty"),
        (b"a: 1\nb: 2\na: 3\n", 3, "'a' stands here twice"),
        (b"a: 1\n b: 2\n", 2, "not valid YAML"),
        (b"a: [1\n", 2, "not valid YAML"),
        (b"a: 1\n---\nb: 2\n", 2, "not valid YAML"),
        (b"a: *nowhere\n", 1, "not valid YAML"),
        (b"a: &a [*a]\n", 1, "levels deep"),
        (b"a: !!python/object:os.system x\n", 1, "tag"),
        (b"a: !!set {x}\n", 1, "tag"),
        (b"x: 1\n1: a\n", 2, "put it in quotes"),
        (b"a: .nan\n", 1, "not a number"),
        (b"a: 1e999\n", 1, "too large"),
        (b"a: " + b"9" * 5_000, 1, "a number of 5000 digits is too large"),
        (b"base: &b {x: 1}\na:\n  <<: *b\n", 3, "put it in quotes"),
        (b"a: \xff\n", 1, "UTF-8"),
        (b"%YAML 1.1\n---\na: 1\n", 1, "YAML 1.2"),
        (b"a: " + b"[" * 70 + b"]" * 70, 1, "levels deep"),
        (b"x" * 1_048_577, None, "the limit is"),
    ],
)
def test_what_is_no_plain_data_is_refused_with_its_line(
    text: bytes, line: int | None, reason: str
) -> None:
    error = refused(text)
    assert error.file == "f.yaml"
    assert error.line == line
    assert reason in error.reason


def test_aliases_that_multiply_are_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert "more than 100000 values" in refused("\n".join(lines).encode()).reason


def test_too_many_values_are_noticed_before_the_rest_is_read() -> None:
    error = refused(b"[" + b"1," * 100_001 + b"}")
    assert error.reason == "the file holds more than 100000 values"


def test_what_long_keys_and_aliases_unfold_to_is_bounded() -> None:
    long = "k" * 400_000
    for text in (f"? {long}\n: [{'1,' * 1_000}]", f"a: &a {long}\nb: [{'*a,' * 1_000}]"):
        assert "unfolds to more than 33554432 characters" in refused(text.encode()).reason


_json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)


@given(_json_values, st.sampled_from([None, 1, "\t"]))
def test_json_reads_as_itself(value: Any, indent: int | str | None) -> None:
    assert read(json.dumps(value, indent=indent)) == value
