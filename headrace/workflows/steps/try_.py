"""`try`: performs steps; an error that they end with is caught: tried again, or handled."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from headrace.workflows.errors import WorkflowError, same_type, standard_name
from headrace.workflows.model import (
    Deadline,
    Done,
    Flow,
    RetryPolicy,
    Scope,
    Step,
    Template,
    is_true,
)
from headrace.workflows.reading import (
    WITH_SECRETS,
    Cursor,
    StepReader,
    attempts,
    read_condition,
    read_error_filter,
    read_variable,
)
from headrace.workflows.steps.retrying import wait_for_retry


@dataclass(frozen=True, slots=True, kw_only=True)
class Catch:
    """Which errors are caught, and what happens then. `variable` is the error's name."""

    variable: str
    filter: Template | None
    when: Template | None
    except_when: Template | None
    retry: RetryPolicy | None
    steps: tuple[Step, ...]
    then: str | None

    async def catches(self, flow: Flow, scope: Scope, error: dict[str, Any]) -> bool:
        """Whether it catches this error, which the scope has as a variable."""
        if self.filter is not None:
            wanted = await flow.evaluate(self.filter, scope.input, scope)
            if not all(_matches(name, value, error) for name, value in wanted.items()):
                return False
        if self.when is not None and not is_true(await flow.evaluate(self.when, error, scope)):
            return False
        return self.except_when is None or not is_true(
            await flow.evaluate(self.except_when, error, scope)
        )


def _matches(name: str, wanted: Any, error: dict[str, Any]) -> bool:
    found = error.get(name)
    if name == "type" and isinstance(wanted, str):
        return same_type(wanted, error["type"])
    return bool(found == wanted)


@dataclass(frozen=True, slots=True)
class TryAction:
    """The steps to perform, and what to do about their errors.

    The memo holds the number of the attempt and when it began; then its error; then whether that
    is being handled.
    """

    steps: tuple[Step, ...]
    catch: Catch

    async def perform(self, flow: Flow, scope: Scope) -> Done:
        """The output of the steps, or of those that handle their error."""
        catch, memo = self.catch, scope.memo
        while True:
            if "error" not in memo:
                done = await self._attempt(flow, scope)
                if done is not None:
                    return done
            error = memo["error"]
            around = scope.binding({catch.variable: error})
            if "handled" not in memo:
                if not await catch.catches(flow, around, error):
                    raise WorkflowError(**error)
                if catch.retry is not None and await wait_for_retry(
                    catch.retry, flow, around, memo["attempt"], error
                ):
                    del memo["error"], memo["began"]
                    continue
                memo["handled"] = True
            done = await flow.sequence(catch.steps, scope.input, around.under("catch", "do"))
            return Done(done.output, catch.then)

    async def _attempt(self, flow: Flow, scope: Scope) -> Done | None:
        """Perform the steps; None: they failed, and the memo holds their error."""
        memo = scope.memo
        if "began" not in memo:
            memo.update(attempt=memo.get("attempt", 0) + 1, began=flow.time.isoformat())
        inner = scope.under("try", memo["attempt"])
        retry = self.catch.retry
        if retry is not None and retry.attempt_duration is not None:
            after = await flow.duration(retry.attempt_duration, scope)
            began = datetime.fromisoformat(memo["began"])
            own = Deadline(began + after, after, f"{scope.step.reference}/try")
            if inner.deadline is None or own.at < inner.deadline.at:
                inner = replace(inner, deadline=own)
        try:
            return Done((await flow.sequence(self.steps, scope.input, inner)).output)
        except WorkflowError as error:
            # A time-out of this step, or of one around it, is not this step's to catch.
            if error.final or _is_timeout_of(scope.deadline, error):
                raise
            memo["error"] = error.as_dict()
            return None


def _is_timeout_of(deadline: Deadline | None, error: WorkflowError) -> bool:
    return (
        deadline is not None
        and error.instance == deadline.instance
        and standard_name(error.type) == "timeout"
    )


def read_try(fields: dict[str, Cursor], reader: StepReader) -> TryAction:
    """The list under `try`, and what stands under `catch`."""
    if "catch" not in fields:
        fields["try"].refuse("`catch` is missing: it says what happens when a task fails")
    if fields["try"].value == []:
        fields["try"].note("`try` holds no task")
    with attempts() as part:
        return TryAction(
            steps=part(reader.steps, fields["try"]),
            catch=part(_read_catch, fields["catch"], reader),
        )


def _read_catch(cursor: Cursor, reader: StepReader) -> Catch:
    fields = cursor.mapping({"errors", "as", "when", "exceptWhen", "retry", "do", "then"})
    variable = read_variable(fields, "as", "error")
    inside = {key: field.binding(variable) for key, field in fields.items()}
    with attempts() as part:
        if "do" in fields and fields["do"].value == []:
            fields["do"].note("`do` holds no task")
        return Catch(
            variable=variable,
            filter=part.given(_read_errors, fields, "errors"),
            when=part.given(read_condition, inside, "when", WITH_SECRETS),
            except_when=part.given(read_condition, inside, "exceptWhen", WITH_SECRETS),
            retry=part.given(reader.retry, inside, "retry"),
            steps=part.given(reader.steps, inside, "do") or (),
            then=part.given(reader.then, fields, "then"),
        )


def _read_errors(cursor: Cursor) -> Template | None:
    fields = cursor.mapping({"with"})
    return read_error_filter(fields["with"]) if "with" in fields else None
