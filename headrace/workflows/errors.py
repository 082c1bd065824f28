"""Every error of the workflow language, in one tree.

WorkflowsError
├── DefinitionError     a definition is wrong, or asks for what is not supported: not loaded
├── WorkflowError       a run failed, as the language describes failures (RFC 9457-like)
└── StateError          the saved state of a run does not fit this definition or this version
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from headrace.logs.redaction import Redactor

ERROR_TYPE_BASE = "https://open-workflow-specification.org/spec/1.0.0/errors/"
# What definitions write in front of a standard error's name: the specification has had several
# addresses for the same types.
_STANDARD_TYPE = re.compile(
    r"https?://(?:open-workflow-specification\.org|serverlessworkflow\.io)"
    r"/(?:spec/[^/]+/errors|dsl/errors/types|errors/types)/([a-z]+)"
)
# The language's standard error types: name → (default status, title). DSL reference, "Standard
# Error Types".
STANDARD_ERRORS: dict[str, tuple[int, str]] = {
    "configuration": (400, "Invalid configuration"),
    "validation": (400, "Invalid data"),
    "expression": (400, "Expression failed"),
    "authentication": (401, "Authentication failed"),
    "authorization": (403, "Not permitted"),
    "timeout": (408, "Timed out"),
    "communication": (500, "Communication failed"),
    "runtime": (500, "The run cannot go on"),
}

# What may well succeed when it is retried: the other side's failures and time-outs, but not
# its refusals (4xx), and never what the definition itself gets wrong.
_RETRYABLE_STATUSES = frozenset({408, 425, 429})


MAX_ERROR_CHARACTERS = 1_000
"""What an error says at most: it may quote data, and data has no bound."""


class WorkflowsError(Exception):
    """Whatever goes wrong with a workflow's definition or run."""


class DefinitionError(WorkflowsError):
    """A definition was refused when it was loaded. Nothing of it ever runs.

    `line` and `column` count from 1 and are None where none can be named; `task` is the name of the
    task, and `workflow_id` that of the workflow, if so much could be read. `others` are the faults
    that come after this one in the same file.
    """

    def __init__(
        self,
        file: str,
        line: int | None,
        task: str | None,
        reason: str,
        *,
        column: int | None = None,
        workflow_id: str | None = None,
    ) -> None:
        reason = shortened(reason)
        task = None if task is None else shortened(task)
        place = ":".join(str(part) for part in (file, line, column) if part is not None)
        where = place if task is None else f"{place}: task {task!r}"
        super().__init__(f"{where}: {reason}")
        self.file = file
        self.line = line
        self.column = column
        self.task = task
        self.reason = reason
        self.workflow_id = workflow_id
        self.others: tuple[DefinitionError, ...] = ()


class StateError(WorkflowsError):
    """The saved state belongs to another definition, or was written by a newer version."""


class WorkflowError(WorkflowsError):
    """A failure of a run, with the fields that the language gives it.

    `type` is a URI, `status` an HTTP-like status; `title` and `detail` are empty where there is
    none. `instance` is the JSON pointer of the task at fault: the run adds it where it is None.
    After one that is `final` the run cannot go on: no `try` catches it.
    """

    final = False

    def __init__(
        self,
        *,
        type: str,
        status: int,
        title: str = "",
        detail: str = "",
        instance: str | None = None,
    ) -> None:
        title, detail = shortened(title), shortened(detail)
        super().__init__(type, title, status, detail, instance)
        self.type = type
        self.title = title
        self.status = status
        self.detail = detail
        self.instance = instance

    @classmethod
    def standard(
        cls, name: str, detail: str, *, status: int | None = None, instance: str | None = None
    ) -> WorkflowError:
        """One of the language's standard errors, by its short name."""
        default_status, title = STANDARD_ERRORS[name]
        return cls(
            type=ERROR_TYPE_BASE + name,
            title=title,
            status=default_status if status is None else status,
            detail=detail,
            instance=instance,
        )

    @property
    def retryable(self) -> bool:
        """Whether the same run may succeed when it is retried later."""
        name = standard_name(self.type)
        if name == "timeout":
            return True
        return name == "communication" and (
            self.status >= 500 or self.status in _RETRYABLE_STATUSES
        )

    def redacted(self, redactor: Redactor) -> WorkflowError:
        """The same error, without secrets."""
        if not redactor:
            return self
        return WorkflowError(
            type=redactor.text(self.type),
            title=redactor.text(self.title),
            status=self.status,
            detail=redactor.text(self.detail),
            instance=self.instance,
        )

    def as_dict(self) -> dict[str, Any]:
        """The error as the language's JSON object."""
        fields = {
            "type": self.type,
            "status": self.status,
            "title": self.title,
            "detail": self.detail,
            "instance": self.instance,
        }
        return {name: value for name, value in fields.items() if value not in (None, "")}

    @property
    def problem(self) -> bytes:
        """The same as JSON: what a parent's run reads of a child's."""
        return json.dumps(self.as_dict()).encode()

    def __str__(self) -> str:
        where = "" if self.instance is None else f" at {self.instance}"
        detail = f": {self.detail}" if self.detail else ""
        return f"{self.title or self.type} ({self.status}){where}{detail}"


def standard_name(type: str) -> str | None:
    """The short name of a standard error's type, in any form of its URI; None for other types."""
    match = _STANDARD_TYPE.fullmatch(type)
    return None if match is None else match[1]


def same_type(type: str, other: str) -> bool:
    """Whether two types of errors are the same, in whatever forms their URIs are written."""
    return type == other or standard_name(type) == standard_name(other) is not None


def shortened(text: str) -> str:
    """The text within the bound of an error's."""
    if len(text) <= MAX_ERROR_CHARACTERS:
        return text
    return text[: MAX_ERROR_CHARACTERS - 1] + "…"


def fail(name: str, detail: str, *, status: int | None = None) -> NoReturn:
    """Raise the standard error `name`; the run adds which task it came from."""
    raise WorkflowError.standard(name, detail, status=status)
