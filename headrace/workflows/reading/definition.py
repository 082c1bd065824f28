"""Reads a workflow's definition: the document as a whole, its steps by `StepReader`."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from headrace.workflows.errors import DefinitionError
from headrace.workflows.expressions import Checker
from headrace.workflows.model import Workflow
from headrace.workflows.reading.cursor import Cursor
from headrace.workflows.reading.durations import read_duration
from headrace.workflows.reading.errors import read_error
from headrace.workflows.reading.expressions import WORKFLOW_INPUT, WORKFLOW_OUTPUT
from headrace.workflows.reading.steps import StepReader, StepType, read_data_field

# Names that stand in the API's paths where a workflow's id would.
RESERVED_IDS = frozenset({"tasks", "queue"})
MAX_VERSION = 128

_DSL = re.compile(r"1\.0\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?")
_NAME = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?")
_VERSION = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)"
    r"(?:-((?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(?:\.(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*))?"
    r"(?:\+[0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*)?"
)

_LATER = {"schedule": "a schedule"}
_USE_LATER = {
    "authentications": "authentication",
    "catalogs": "a catalog of functions",
    "extensions": "extensions",
    "functions": "named functions",
    "retries": "named retry policies",
    "secrets": "secrets",
}


def read_definition(
    text: bytes, source: str, step_types: Mapping[str, StepType], checker: Checker
) -> Workflow:
    """Read and check a definition. Raises DefinitionError naming file, line and task.

    `source` is what error messages call it, such as the file's name.
    """
    # Imported here: a process without definitions never needs the YAML library.
    from headrace.workflows.reading.yaml import read_source

    read = read_source(text, source)
    root = Cursor(read, read.data)
    try:
        workflow = _read(root, text, step_types)
        checker.check(root.checks)
    except DefinitionError as error:
        error.workflow_id = _name_in(read.data)
        raise
    return workflow


def _read(root: Cursor, text: bytes, step_types: Mapping[str, StepType]) -> Workflow:
    fields = root.mapping(
        {"document", "input", "output", "do", "timeout", "use", "evaluate"},
        ("document", "do"),
        _LATER,
    )
    document = _read_document(fields["document"])
    if "evaluate" in fields:
        _check_evaluate(fields["evaluate"])
    reader = _read_use(fields["use"], step_types) if "use" in fields else StepReader(step_types)
    return Workflow(
        id=document["name"],
        namespace=document["namespace"],
        version=document["version"],
        title=document.get("title"),
        summary=document.get("summary"),
        source=root.source.file,
        definition=text,
        definition_sha256=hashlib.sha256(text).hexdigest(),
        document=root.value,
        steps=reader.steps(fields["do"]),
        input_from=read_data_field(fields, "input", "from", WORKFLOW_INPUT),
        output_as=read_data_field(fields, "output", "as", WORKFLOW_OUTPUT),
        timeout=reader.timeout(fields["timeout"], WORKFLOW_INPUT) if "timeout" in fields else None,
    )


def _name_in(data: Any) -> str | None:
    """The workflow's id, if the document has one, whatever else is wrong with it."""
    document = data.get("document") if isinstance(data, dict) else None
    name = document.get("name") if isinstance(document, dict) else None
    return name if isinstance(name, str) and _NAME.fullmatch(name) else None


def hyphened(workflow_id: str) -> str:
    """An id as the workflow language writes names: it knows no underscore."""
    return workflow_id.replace("_", "-")


def version_key(version: str) -> tuple[Any, ...]:
    """Sorts semantic versions by their precedence (semver 2.0, clause 11)."""
    match = _VERSION.fullmatch(version)
    assert match is not None
    numbers = tuple(int(part) for part in match.group(1, 2, 3))
    if match[4] is None:
        return (*numbers, 1, ())
    parts = tuple(
        (0, int(part), "") if part.isdigit() else (1, 0, part) for part in match[4].split(".")
    )
    return (*numbers, 0, parts)


def _read_document(cursor: Cursor) -> dict[str, str]:
    texts = {"dsl", "namespace", "name", "version", "title", "summary"}
    fields = cursor.mapping(texts | {"tags", "metadata"}, ("dsl", "namespace", "name", "version"))
    document = {key: field.text() for key, field in fields.items() if key in texts}
    for key in ("tags", "metadata"):
        if key in fields:
            fields[key].fields()
    if not _DSL.fullmatch(document["dsl"]):
        fields["dsl"].refuse(f"the language's versions 1.0.x are read, not {document['dsl']}")
    for key in ("namespace", "name"):
        if not _NAME.fullmatch(document[key]):
            fields[key].refuse(
                f"`{key}` must be 1 to 63 letters, digits and hyphens, with no hyphen at an end, "
                f"not {document[key]!r}"
            )
    if document["name"] in RESERVED_IDS:
        fields["name"].refuse(f"a workflow cannot be named {document['name']!r}: choose another")
    if not _VERSION.fullmatch(document["version"]) or len(document["version"]) > MAX_VERSION:
        fields["version"].refuse(
            "`version` must be a semantic version such as 1.0.0, with at most "
            f"{MAX_VERSION} characters, not {document['version']!r}"
        )
    return document


def _check_evaluate(cursor: Cursor) -> None:
    fields = cursor.mapping({"language", "mode"})
    if "language" in fields and fields["language"].text() != "jq":
        fields["language"].refuse("expressions are read as `jq`; no other language is supported")
    if "mode" in fields and fields["mode"].one_of("strict", "loose") == "loose":
        fields["mode"].refuse("the `loose` mode is not supported: write expressions as ${ … }")


def _read_use(cursor: Cursor, step_types: Mapping[str, StepType]) -> StepReader:
    fields = cursor.mapping({"errors", "timeouts"}, later=_USE_LATER)
    errors = fields["errors"].fields() if "errors" in fields else {}
    timeouts = fields["timeouts"].fields() if "timeouts" in fields else {}
    return StepReader(
        step_types,
        timeouts={
            name: read_duration(field.mapping({"after"}, ("after",))["after"], WORKFLOW_INPUT)
            for name, field in timeouts.items()
        },
        errors={name: read_error(field) for name, field in errors.items()},
    )
