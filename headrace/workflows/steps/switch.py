"""`switch`: chooses where to go on; its output is its input."""

from __future__ import annotations

from dataclasses import dataclass

from headrace.workflows.model import Done, Flow, Scope, Template, is_true
from headrace.workflows.reading import STEP_BODY, Cursor, StepReader, read_condition


@dataclass(frozen=True, slots=True)
class SwitchAction:
    """The cases with a condition, each with where it leads, and where the default leads."""

    cases: tuple[tuple[Template, str], ...]
    default: str | None

    async def perform(self, flow: Flow, scope: Scope) -> Done:
        """Go on as the first case says that matches."""
        for condition, then in self.cases:
            if is_true(await flow.evaluate(condition, scope.input, scope)):
                return Done(scope.input, then)
        return Done(scope.input, self.default)


def read_switch(fields: dict[str, Cursor], reader: StepReader) -> SwitchAction:
    """The list of named cases under `switch`."""
    cases: list[tuple[Template, str]] = []
    default: str | None = None
    names: set[str] = set()
    for item in fields["switch"].items():
        named = item.fields()
        if len(named) != 1:
            item.refuse("an item of `switch` must hold one case under its name")
        ((name, cursor),) = named.items()
        if name in names:
            cursor.refuse(f"two cases of this `switch` are named {name!r}: rename one")
        names.add(name)
        case = cursor.mapping({"when", "then"}, ("then",))
        then = reader.then(case["then"])
        if "when" in case:
            cases.append((read_condition(case["when"], STEP_BODY), then))
        elif default is not None:
            cursor.refuse("two cases of this `switch` have no `when`: only one is the default")
        else:
            default = then
    if not names:
        fields["switch"].refuse("`switch` has no case")
    return SwitchAction(tuple(cases), default)
