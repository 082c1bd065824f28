"""Reads a workflow's definition: the document as a whole, its steps by `StepReader`."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from headrace.workflows.expressions import Checker
from headrace.workflows.model import CalledFunction, Workflow
from headrace.workflows.reading import refused
from headrace.workflows.reading.authentications import read_authentication
from headrace.workflows.reading.cursor import Attempts, Cursor, TooManyFaults, attempts
from headrace.workflows.reading.durations import read_timeout
from headrace.workflows.reading.errors import read_error
from headrace.workflows.reading.expressions import WORKFLOW_INPUT, WORKFLOW_OUTPUT
from headrace.workflows.reading.retries import read_retry
from headrace.workflows.reading.steps import StepReader, StepType, read_data_field, read_data_schema

# Names that stand in the API's paths where a workflow's id would.
RESERVED_IDS = frozenset({"tasks", "queue"})
MAX_VERSION = 128

_DSL = re.compile(r"1\.0\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?")
_SECRET = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_NAME = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?")
_VERSION = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)"
    r"(?:-((?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(?:\.(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*))?"
    r"(?:\+[0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*)?"
)


def read_definition(
    text: bytes,
    source: str,
    step_types: Mapping[str, StepType],
    checker: Checker,
    functions: Mapping[str, CalledFunction],
) -> Workflow:
    """Read and check a definition. Raises DefinitionError, its faults in the order of the file.

    `source` is what error messages call it, such as the file's name.
    """
    # Imported here: a process without definitions never needs the YAML library.
    from headrace.workflows.reading.yaml import read_source

    read = read_source(text, source)
    root = Cursor(read, read.data)
    part = Attempts()
    with suppress(TooManyFaults):
        workflow = part(_read, root, text, StepReader(step_types, functions))
        checker.check(root.findings.checks)
    # An expression may be read twice, as a field of its own and as part of a template.
    each = {str(fault): fault for fault in root.findings.faults}.values()
    faults = sorted(each, key=lambda fault: (fault.line or 0, fault.column or 0))
    if not faults:
        return workflow
    for fault in faults:
        fault.workflow_id = _name_in(read.data)
    faults[0].others = tuple(faults[1:])
    raise faults[0]


def _read(root: Cursor, text: bytes, reader: StepReader) -> Workflow:
    fields = root.mapping(
        {"document", "input", "output", "do", "timeout", "use", "evaluate"},
        ("document", "do"),
        refused.WORKFLOW,
    )
    with attempts() as part:
        if "evaluate" in fields:
            part(_check_evaluate, fields["evaluate"])
        if "use" in fields:
            part(_read_use, fields["use"], reader)
        timeout = None
        if "timeout" in fields:
            timeout = part(reader.timeout, fields["timeout"], WORKFLOW_INPUT)
        input_from = part(read_data_field, fields, "input", "from", WORKFLOW_INPUT)
        output_as = part(read_data_field, fields, "output", "as", WORKFLOW_OUTPUT)
        input_schema = part(read_data_schema, fields, "input")
        output_schema = part(read_data_schema, fields, "output")
        steps = part(reader.steps, fields["do"])
        document = part(_read_document, fields["document"])
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
        steps=steps,
        input_schema=input_schema,
        input_from=input_from,
        output_as=output_as,
        output_schema=output_schema,
        timeout=timeout,
        secrets=frozenset(root.findings.secrets),
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
    with attempts() as part:
        for key in fields.keys() & {"tags", "metadata"}:
            part(fields[key].fields)
        return {key: part(_read_text, fields[key]) for key in fields.keys() & texts}


def _read_text(cursor: Cursor) -> str:
    """One of the document's texts."""
    text = cursor.text()
    match cursor.key:
        case "dsl" if not _DSL.fullmatch(text):
            cursor.note(f"the language's versions 1.0.x are read, not {text}")
        case ("namespace" | "name") as key if not _NAME.fullmatch(text):
            cursor.note(
                f"`{key}` must be 1 to 63 letters, digits and hyphens, with no hyphen at an end, "
                f"not {text!r}"
            )
        case "name" if text in RESERVED_IDS:
            cursor.note(f"a workflow cannot be named {text!r}: choose another")
        case "version" if not _VERSION.fullmatch(text) or len(text) > MAX_VERSION:
            cursor.note(
                "`version` must be a semantic version such as 1.0.0, with at most "
                f"{MAX_VERSION} characters, not {text!r}"
            )
    return text


def _check_evaluate(cursor: Cursor) -> None:
    fields = cursor.mapping({"language", "mode"})
    if "language" in fields and fields["language"].text() != "jq":
        fields["language"].note(refused.LANGUAGE)
    if "mode" in fields and fields["mode"].one_of("strict", "loose") == "loose":
        fields["mode"].note(refused.LOOSE)


def _read_secret(cursor: Cursor) -> str:
    """The name of a secret, which may also be a file's."""
    name = cursor.text()
    if not _SECRET.fullmatch(name):
        cursor.note(
            "a secret's name has 1 to 128 letters, digits and `_` `-` `.`, with a letter or digit "
            f"first, not {name!r}"
        )
    return name


def _read_use(cursor: Cursor, reader: StepReader) -> None:
    """Give the reader what the workflow names. A name counts even if what it names is wrong."""
    fields = cursor.mapping(
        {"authentications", "errors", "functions", "retries", "secrets", "timeouts"},
        refused=refused.USE,
    )
    part = Attempts()
    if "secrets" in fields:
        for secret in fields["secrets"].items():
            name = part(_read_secret, secret)
            cursor.findings.secrets.add(name)
    if "authentications" in fields:
        for name, authentication in fields["authentications"].fields().items():
            reader.authentications[name] = part(read_authentication, authentication)
    if "timeouts" in fields:
        for name, timeout in fields["timeouts"].fields().items():
            reader.timeouts[name] = part(read_timeout, timeout, WORKFLOW_INPUT)
    if "errors" in fields:
        for name, error in fields["errors"].fields().items():
            reader.errors[name] = part(read_error, error)
    if "retries" in fields:
        for name, retry in fields["retries"].fields().items():
            reader.retries[name] = part(read_retry, retry)
    if "functions" in fields:
        reader.function_names.update(fields["functions"].fields())
        for name, function in fields["functions"].fields().items():
            if name in refused.CALLS:
                function.note(
                    f"a function cannot be named {name!r}: the language gives it a meaning"
                )
            reader.named_functions[name] = part(reader.function, name, function)
