"""The workflows of this process, and their pinning: a submit has its definition's hash.

The checked text is kept in Redis once, under its SHA-256, and the worker runs that text: a folder
mounted from a ConfigMap reaches pods up to a minute apart.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.contract.problems import INVALID_PAYLOAD, WORKFLOW_BROKEN, WORKFLOW_NOT_FOUND
from headrace.hints import did_you_mean
from headrace.logs import get_logger
from headrace.workflows import hyphened
from headrace_api.http.problems import Problem

if TYPE_CHECKING:
    from headrace.taskqueue import TaskQueue
    from headrace.workflows import Catalog, DefinitionError, Workflow

log = get_logger(__name__)

REFRESH_SECONDS = 2.0
"""How soon a change in the folder is noticed."""
MAX_VERSIONS_NAMED = 10
"""In an error, of a workflow that has more."""


class Definitions:
    """The folder of workflows, reloaded when it changes."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._pinned: dict[str, str | None] = {}
        self._reported: frozenset[str] = frozenset()
        self._report()

    @property
    def workflows(self) -> list[Workflow]:
        """The latest version of each, by id."""
        return [self._catalog.workflows[name] for name in sorted(self._catalog.workflows)]

    @property
    def errors(self) -> list[DefinitionError]:
        """The files that could not be loaded."""
        return list(self._catalog.errors)

    def versions(self, workflow_id: str) -> list[str]:
        """A workflow's versions that can be used, the latest first."""
        return self._catalog.versions(workflow_id)

    def errors_of(self, workflow_id: str) -> list[DefinitionError]:
        """What may be wrong with files of this workflow."""
        return [error for error in self._catalog.errors if self._concerns(error, workflow_id)]

    def get(self, workflow_id: str, version: str | None = None) -> Workflow:
        """A workflow by its id: this version of it, or the latest.

        Raises the 404 problem, or the 409 one when its file is broken. The guide writes
        `my_workflow`, and the workflow language allows no `_` in a name: an underscore also finds
        the workflow whose name has `-` there.
        """
        workflow = self._catalog.get(workflow_id, version)
        if workflow is not None:
            return workflow
        versions = self.versions(workflow_id)
        if versions:
            raise Problem(
                WORKFLOW_NOT_FOUND,
                f"the workflow {workflow_id!r} has no version {version!r}: it has "
                f"{', '.join(versions[:MAX_VERSIONS_NAMED])}"
                + did_you_mean(str(version), versions),
                workflow_id=workflow_id,
            )
        broken = next(iter(self.errors_of(workflow_id)), None)
        if broken is not None:
            raise Problem(
                WORKFLOW_BROKEN,
                f"the definition of {workflow_id!r} cannot be used: {broken}",
                workflow_id=workflow_id,
                file=broken.file,
                line=broken.line,
                column=broken.column,
                task=broken.task,
            )
        raise Problem(
            WORKFLOW_NOT_FOUND,
            f"no workflow {workflow_id!r} is in the folder WORKFLOWS_DIR: see GET /api/workflows"
            + did_you_mean(hyphened(workflow_id), self._catalog.workflows),
            workflow_id=workflow_id,
        )

    def get_pinned(self, workflow_id: str, sha256: str, pointer: str) -> Workflow:
        """A workflow by its id and its definition's hash, in any version that the folder holds.

        Raises as `get`, and the 422 problem, which names `pointer`, when the folder does not hold
        that definition, or holds it under another id.
        """
        workflow = self._catalog.by_sha256(sha256)
        if workflow is not None and workflow.id == hyphened(workflow_id):
            return workflow
        self.get(workflow_id)
        reason = (
            f"no definition of {workflow_id!r} in WORKFLOWS_DIR has the SHA-256 {sha256}: leave "
            "`definition` out to run the latest"
        )
        raise Problem(INVALID_PAYLOAD, reason, errors=[{"detail": reason, "pointer": pointer}])

    def version_of(self, sha256: object) -> str | None:
        """The version of the definition with this hash; None: the folder holds it no more."""
        workflow = self._catalog.by_sha256(sha256) if isinstance(sha256, str) else None
        return None if workflow is None else workflow.version

    def is_pinned(self, queue: TaskQueue, workflow: Workflow) -> bool:
        """Whether Redis holds the definition's text, unless it has lost all its data since."""
        pin = workflow.definition_sha256
        return pin in self._pinned and self._pinned[pin] == queue.epoch

    async def pin(self, queue: TaskQueue, workflow: Workflow) -> None:
        """Put the definition's text into Redis. Once for each epoch is enough. QueueError."""
        await queue.put_definition(workflow.definition)
        self._pinned[workflow.definition_sha256] = queue.epoch

    async def run(self) -> None:
        """Look for changes for ever. Files are read in a thread: a mounted folder may be slow."""
        unreadable = ""
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            try:
                changed = await asyncio.to_thread(self._catalog.refresh)
                if changed:
                    log.info("workflows.read", workflows=len(self._catalog.workflows))
                    self._report()
                unreadable = ""
            except OSError as error:
                if unreadable != str(error):
                    unreadable = str(error)
                    log.warning("workflows.unreadable", error=unreadable)
            except Exception:
                # It is looked at again: one defect must not leave the workflows old for ever.
                log.exception("workflows.unreadable")

    def _concerns(self, error: DefinitionError, workflow_id: str) -> bool:
        """Whether this may be why there is no such workflow.

        A broken file should have held it, by its document or by its name; a folder that cannot be
        read may hold any.
        """
        held = error.workflow_id or Path(error.file).stem
        return error.file == str(self._catalog.folder) or hyphened(workflow_id) == hyphened(held)

    def _report(self) -> None:
        """Each broken file is logged once, until something about it changes."""
        errors = frozenset(str(error) for error in self._catalog.errors)
        for error in sorted(errors - self._reported):
            log.error("workflows.broken", error=error)
        self._reported = errors
