"""`for`: performs steps for each item of a list.

Each round gets the output of the one before; or, with our extension `parallel`, some run at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from headrace.workflows.errors import fail
from headrace.workflows.expressions import NOW
from headrace.workflows.model import Done, Flow, Scope, Step, Template, is_true
from headrace.workflows.reading import (
    STEP_BODY,
    Cursor,
    StepReader,
    attempts,
    kind_of,
    read_condition,
    read_items,
    read_variable,
)


@dataclass(frozen=True, slots=True)
class ForAction:
    """The loop. `each` and `at` are the variables of a round: its item, and its number from 0.

    `parallel`: so many rounds run at once, each with the loop's input; None: one after the other.
    """

    items: Template
    each: str
    at: str
    condition: Template
    steps: tuple[Step, ...]
    parallel: int | None

    async def perform(self, flow: Flow, scope: Scope) -> Done:
        """The last round's output, the step's input when there is no round; a list if parallel."""
        memo = scope.memo
        items: list[Any] | None = memo.get("items")
        if items is None:
            items = await self._items(flow, scope)
        if self.parallel is not None:
            self._keep(memo, items)
            return await self._at_once(flow, scope, items, self.parallel)
        if "round" not in memo:
            self._keep(memo, items)
            memo.update(round=0, data=scope.input)
        while (place := memo["round"]) < len(items):
            around = scope.binding({self.each: items[place], self.at: place})
            if "data" in memo and not is_true(
                await flow.evaluate(self.condition, memo["data"], around)
            ):
                break
            # From its beginning to its end the sequence has the data, and not this memo, too.
            data = memo.pop("data", None)
            done = await flow.sequence(self.steps, data, around.under("for", place, "do"))
            memo.update(data=done.output, round=place + 1)
            if done.then == "exit":
                break
        return Done(memo["data"])

    async def _at_once(self, flow: Flow, scope: Scope, items: list[Any], parallel: int) -> Done:
        async def round_of(flow: Flow, place: int) -> Done:
            around = scope.binding({self.each: items[place], self.at: place})
            return await flow.sequence(self.steps, scope.input, around.under("for", place, "do"))

        return Done(await flow.branches(len(items), round_of, scope.under("for"), at_once=parallel))

    def _keep(self, memo: dict[str, Any], items: list[Any]) -> None:
        """Keep the items, unless they come out the same again: they may be many."""
        used = {name for expression in self.items.expressions for name in expression.variables}
        if used & {"context", NOW}:
            memo["items"] = items

    async def _items(self, flow: Flow, scope: Scope) -> list[Any]:
        items = await flow.evaluate(self.items, scope.input, scope)
        if not isinstance(items, list):
            text = self.items.expressions[0].text.strip()
            fail("expression", f"`{text}` gives {kind_of(items)} where `for` needs a list")
        if len(items) > flow.limits.max_items:
            flow.limits.exceeded("max_items", f"`for` has {len(items)} items", "split the list")
        return items


def read_for(fields: dict[str, Cursor], reader: StepReader) -> ForAction:
    """What to loop over under `for`, the condition of a round under `while`, its steps in `do`."""
    if "do" not in fields:
        fields["for"].refuse("`do` is missing: it holds what is done for each item")
    loop = fields["for"].mapping({"each", "in", "at"}, ("in",))
    each = read_variable(loop, "each", "item")
    at = read_variable(loop, "at", "index")
    if each == at:
        loop.get("at", loop.get("each", fields["for"])).note(
            f"`each` and `at` are both named {each!r}: name one of them otherwise"
        )
    body = fields["do"].binding(each, at)
    if body.value == []:
        body.note("`do` holds no task")
    condition = Template(True, ())
    with attempts() as part:
        if "while" in fields:
            condition = part(read_condition, fields["while"].binding(each, at), STEP_BODY)
        return ForAction(
            items=part(read_items, loop["in"], STEP_BODY),
            each=each,
            at=at,
            condition=condition,
            steps=part(reader.steps, body),
            parallel=part(_read_parallel, fields),
        )


def _read_parallel(fields: dict[str, Cursor]) -> int | None:
    """Our extension `metadata.headrace.parallel`."""
    metadata = fields["metadata"].fields() if "metadata" in fields else {}
    if "headrace" not in metadata:
        return None
    given = metadata["headrace"].mapping({"parallel"}, ("parallel",))["parallel"]
    if type(given.value) is not int or given.value < 1:
        given.refuse("`parallel` must be a whole number from 1: how many rounds run at once")
    if "while" in fields:
        fields["while"].note(
            "`while` looks at what the round before gave, and rounds that run at once have none "
            "before them: remove `while`, or `parallel`"
        )
    return int(given.value)
