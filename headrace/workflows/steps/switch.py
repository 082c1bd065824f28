"""`switch`: chooses where to go on; its output is its input."""

from __future__ import annotations

from dataclasses import dataclass

from headrace.workflows.model import Done, Flow, Scope, Template, is_true
from headrace.workflows.reading import WITH_SECRETS, Cursor, StepReader, attempts, read_condition


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
    cases = _Cases()
    with attempts() as part:
        for item in fields["switch"].items():
            part(cases.read, item, reader)
    if not cases.names:
        fields["switch"].refuse("`switch` has no case")
    if cases.default is not None:
        reader.steers()
    return SwitchAction(tuple(cases.conditional), cases.default)


class _Cases:
    """The cases that were read."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.conditional: list[tuple[Template, str]] = []
        self.default: str | None = None

    def read(self, item: Cursor, reader: StepReader) -> None:
        """Add an item of the list."""
        named = item.fields()
        if len(named) != 1:
            item.refuse("an item of `switch` must hold one case under its name")
        ((name, cursor),) = named.items()
        if name in self.names:
            cursor.note(f"two cases of this `switch` are named {name!r}: rename one")
        self.names.add(name)
        fields = cursor.mapping({"when", "then"}, ("then",))
        with attempts() as part:
            then = part(reader.then, fields["then"])
            if "when" in fields:
                self.conditional.append((part(read_condition, fields["when"], WITH_SECRETS), then))
            elif self.default is None:
                self.default = then
            else:
                cursor.note("two cases of this `switch` have no `when`: only one is the default")
