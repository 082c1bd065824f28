"""`make chart-docs`: what the chart takes from elsewhere.

The chart's README and the descriptions in its schemas come from values.yaml; the rights of the
users in its Redis from the queue's scripts.

What a value means stands once, in the `# --` comment above it. This program copies it into the
table in charts/headrace/README.md and into values.schema.json, where editors show it. With
`--check` it writes nothing and fails when something has drifted: a value without a comment, a value
that the schema does not know, a name in the schema that is no value, a default that it refuses.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema_rs
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parent.parent
CHART = ROOT / "charts" / "headrace"
BEGIN, END = "<!-- values: begin -->", "<!-- values: end -->"
LONG_DEFAULT = 60
"""Longer defaults are not shown: values.yaml has them."""

Path_ = tuple[str, ...]


class Value(NamedTuple):
    """One value: where it stands, its default, what its comment says."""

    path: Path_
    default: Any
    text: str


@dataclass(frozen=True)
class Chart:
    """A chart's folder, the prefix of its values in the parent, and the names that Helm gives."""

    folder: Path
    prefix: Path_ = ()
    given: frozenset[str] = frozenset({"global"})

    @property
    def values_file(self) -> Path:
        """Its values.yaml."""
        return self.folder / "values.yaml"

    @property
    def schema_file(self) -> Path:
        """Its values.schema.json."""
        return self.folder / "values.schema.json"

    def values(self) -> Any:
        """The defaults as data."""
        return YAML(typ="safe").load(self.values_file)

    def schema(self) -> Any:
        """The schema as data."""
        return json.loads(self.schema_file.read_text(encoding="utf-8"))


PARENT = Chart(CHART)
REDIS = Chart(CHART / "charts" / "redis", ("redis",), frozenset({"global", "enabled"}))
CHARTS = (PARENT, REDIS)
USERS = REDIS.folder / "files" / "users.acl"
ELSEWHERE = "#/$defs/elsewhere"
"""Words of other charts, which the schema lets pass and a template refuses with a sentence."""


def comments(text: str) -> dict[Path_, str]:
    """The `# --` comment above each key of a values file, by the key's path."""
    found: dict[Path_, str] = {}
    parents: list[tuple[int, str]] = []
    comment: list[str] | None = None
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("# --"):
            comment = [stripped.removeprefix("# --").strip()]
        elif stripped.startswith("#"):
            if comment is not None:
                comment.append(stripped.removeprefix("#").strip())
        elif match := re.match(r"( *)([A-Za-z][A-Za-z0-9]*):", line):
            indent, key = len(match[1]), match[2]
            while parents and parents[-1][0] >= indent:
                parents.pop()
            parents.append((indent, key))
            if comment is not None:
                found[tuple(name for _, name in parents)] = " ".join(comment)
            comment = None
        else:
            comment = None
    return found


def documented(chart: Chart) -> list[Value]:
    """All values in the file's order. Raises ValueError for one without a comment."""
    texts = comments(chart.values_file.read_text(encoding="utf-8"))

    def walk(value: Any, path: Path_) -> Iterator[Value]:
        if path in texts:
            yield Value(path, value, texts[path])
        elif isinstance(value, dict) and value:
            for key, inner in value.items():
                yield from walk(inner, (*path, key))
        else:
            where = chart.values_file.relative_to(ROOT)
            raise ValueError(f"{where}: {'.'.join(path)} has no comment that begins with `# --`")

    return list(walk(chart.values(), ()))


def resolved(schema: Any, node: Any) -> Any:
    """The node that a `$ref` names, or the node itself."""
    reference = node.get("$ref")
    return schema["$defs"][reference.rpartition("/")[2]] if reference else node


def schema_node(schema: Any, path: Path_) -> Any:
    """Where the schema speaks of a value. Raises KeyError when it does not."""
    node = schema
    for key in path:
        node = resolved(schema, node)["properties"][key]
    return node


def described(chart: Chart, values: list[Value]) -> tuple[str, list[str]]:
    """The schema with each value's comment as its description, and what does not fit."""
    schema = chart.schema()
    where = chart.schema_file.relative_to(ROOT)
    problems = []
    for value in values:
        try:
            node = schema_node(schema, value.path)
        except KeyError:
            problems.append(f"{where} does not know {'.'.join(value.path)}")
            continue
        # Definitions that several places share, such as an image's, have no one description. The
        # pools' does: their comments stand in workerDefaults alone.
        owner = schema_node(schema, value.path[:-1])
        if "$ref" not in owner or (value.path[0] == "workerDefaults" and len(value.path) == 2):
            node["description"] = value.text
    sections = {path[: i + 1] for path, *_ in values for i in range(len(path))}
    leaves = {value.path for value in values}
    problems += [
        f"{where} has {'.'.join(path)}, and {chart.values_file.name} has not"
        for path in properties(schema, schema, (), leaves)
        if path not in sections and path[0] not in chart.given
    ]
    for error in jsonschema_rs.validator_for(schema).iter_errors(chart.values()):
        place = ".".join(str(part) for part in error.instance_path)
        problems.append(f"{where} refuses the default of {place}: {error.message}")
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n", problems


def properties(schema: Any, node: Any, path: Path_, leaves: set[Path_]) -> Iterator[Path_]:
    """The paths of all named properties, down to the values that are documented as a whole."""
    for key, inner in resolved(schema, node).get("properties", {}).items():
        if inner.get("$ref") == ELSEWHERE:
            continue
        here = (*path, key)
        yield here
        if here not in leaves:
            yield from properties(schema, inner, here, leaves)


def table(chart: Chart, values: list[Value]) -> Iterator[str]:
    """Markdown: a table of a chart's values."""
    yield "| Value | Default | What it is |"
    yield "|---|---|---|"
    for path, default, text in values:
        shown = json.dumps(default, ensure_ascii=False)
        if len(shown) > LONG_DEFAULT:
            shown = "see values.yaml"
        else:
            shown = f"`{shown}`"
        name = ".".join((*chart.prefix, *path))
        escaped = text.replace("|", "\\|")
        yield f"| `{name}` | {shown} | {escaped} |"


def readme(values: dict[Chart, list[Value]]) -> str:
    """The chart's README with fresh tables between its two marks."""
    text = (CHART / "README.md").read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"charts/headrace/README.md lacks {BEGIN} or {END}")
    lines = [
        *table(PARENT, values[PARENT]),
        "",
        "### The chart's own Redis",
        "",
        *table(REDIS, values[REDIS]),
    ]
    return "\n".join((before + begin, "", *lines, "", end + after))


def redis_users() -> str:
    """What `headrace redis-acl` prints."""
    command = [sys.executable, "-m", "headrace", "redis-acl"]
    return subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout


def main() -> None:
    """Write, or check."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, fail on drift")
    check = parser.parse_args().check
    try:
        values = {chart: documented(chart) for chart in CHARTS}
        files = {CHART / "README.md": readme(values), USERS: redis_users()}
    except ValueError as error:
        sys.exit(str(error))
    problems = []
    for chart, found in values.items():
        files[chart.schema_file], wrong = described(chart, found)
        problems += wrong
    for file, text in files.items():
        if file.exists() and file.read_text(encoding="utf-8") == text:
            continue
        if check:
            problems.append(f"{file.relative_to(ROOT)} is out of date: run make chart-docs")
        else:
            file.write_text(text, encoding="utf-8")
    if problems:
        sys.exit("\n".join(problems))


if __name__ == "__main__":
    main()
