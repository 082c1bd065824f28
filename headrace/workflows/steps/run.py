"""`run`: runs another workflow, as a task of its own, on any worker."""

from __future__ import annotations

from dataclasses import dataclass

from headrace.workflows.errors import WorkflowError, fail
from headrace.workflows.model import ChildEnd, ChildRun, Done, Flow, Scope, Template
from headrace.workflows.reading import (
    STEP_BODY,
    Cursor,
    StepReader,
    attempts,
    kind_of,
    read_template,
    refused,
)


@dataclass(frozen=True, slots=True)
class RunWorkflowAction:
    """Which workflow, with what input. Without one it gets the task's input."""

    namespace: str
    name: str
    version: str | None
    input: Template | None
    awaited: bool

    async def perform(self, flow: Flow, scope: Scope) -> Done:
        """The workflow's output; the task's input, if nobody waits for that."""
        variables = scope.input
        if self.input is not None:
            variables = await flow.evaluate(self.input, scope.input, scope)
        if not isinstance(variables, dict):
            fail("validation", f"a workflow's input must be an object, not {kind_of(variables)}")
        run = ChildRun(self.namespace, self.name, self.version, variables, self.awaited)
        end = await flow.child(run, scope)
        if end.status == "completed":
            return Done(end.result["variables"])
        if end.status == "started":
            return Done(scope.input)
        raise self._error(end)

    def _error(self, end: ChildEnd) -> WorkflowError:
        """The workflow's own error, which is this task's."""
        if isinstance(end.problem, dict):
            return WorkflowError(
                type=end.problem["type"],
                status=end.problem["status"],
                title=end.problem.get("title", ""),
                detail=end.problem.get("detail", ""),
            )
        why = "was cancelled" if end.status == "cancelled" else f"failed: {end.error}"
        return WorkflowError.standard("runtime", f"the workflow {self.name!r} {why}")


def read_run(fields: dict[str, Cursor], _reader: StepReader) -> RunWorkflowAction:
    """The workflow under `run`."""
    for kind, sentence in refused.RUNS.items():
        if kind in fields["run"].fields():
            fields["run"].child(kind).refuse(sentence)
    run = fields["run"].mapping({"workflow", "await"}, ("workflow",))
    required = ("namespace", "name", "version")
    given = run["workflow"].mapping({*required, "input"}, required)
    with attempts() as part:
        awaited = part.given(Cursor.flag, run, "await")
        version = part(given["version"].text)
        return RunWorkflowAction(
            namespace=part(given["namespace"].text),
            name=part(given["name"].text),
            version=None if version == "latest" else version,
            input=part.given(read_template, given, "input", STEP_BODY),
            awaited=awaited is not False,
        )
