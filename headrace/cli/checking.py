"""`headrace workflow check`: reads definitions as API and workers would, and reports."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import typer

from headrace.handlers import Function, load_functions
from headrace.workflows import Catalog, DefinitionError, Workflow, check_file


def main(paths: Iterable[Path], *, as_json: bool) -> int:
    """Check files and folders. Returns the exit status: 1 refused, 2 there is none."""
    workflows: list[Workflow] = []
    errors: list[DefinitionError] = []
    functions = load_functions()
    for path in paths:
        if not path.exists():
            typer.echo(f"{path} does not exist", err=True)
            return 2
        found, wrong = _read(path, functions)
        if not found and not wrong:
            typer.echo(f"{path} holds no definitions: files *.yaml, *.yml or *.json", err=True)
            return 2
        workflows += found
        errors += wrong
    if as_json:
        typer.echo(json.dumps(_report(workflows, errors), ensure_ascii=False, indent=2))
    else:
        for workflow in workflows:
            typer.echo(f"ok       {workflow.id} {workflow.version}")
        for error in errors:
            typer.echo(f"refused  {error}", err=True)
    return 1 if errors else 0


def _read(
    path: Path, functions: Mapping[str, Function[Any, Any]]
) -> tuple[list[Workflow], list[DefinitionError]]:
    if not path.is_dir():
        return check_file(path, functions)
    catalog = Catalog.load(path, functions)
    return list(catalog.workflows.values()), catalog.errors


def _report(
    workflows: Iterable[Workflow], errors: Iterable[DefinitionError]
) -> dict[str, list[dict[str, Any]]]:
    return {
        "workflows": [
            {"file": workflow.source, "workflow_id": workflow.id, "version": workflow.version}
            for workflow in workflows
        ],
        "errors": [
            {name: getattr(error, name) for name in ("file", "line", "column", "task", "reason")}
            for error in errors
        ],
    }
