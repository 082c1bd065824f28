"""What a run may use at most, and the errors of one that would use more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

from headrace.limits import MAX_JOURNAL_BYTES
from headrace.workflows.errors import WorkflowError


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLimits:
    """A run's limits. The setting of each is `WORKFLOW_` and its name in capitals."""

    max_steps: int = 10_000
    """Steps between two effects or parks: this finds a `then` that leads back without end."""
    max_run_steps: int = 10_000_000
    """Steps of a run in all."""
    max_items: int = 100_000
    """Items of one `for`."""
    max_branches: int = 1_000
    """Branches of one `fork`, and rounds at once of one `for`."""
    max_data_bytes: int = 10 * 1_048_576
    """What an effect or a step outputs, and the context: as JSON."""
    max_journal_bytes: int = MAX_JOURNAL_BYTES
    """What the journal of a run holds since its last snapshot."""

    def exceeded(self, name: str, what: str, advice: str, *, final: bool = False) -> NoReturn:
        """Raise the error that says what is over the limit `name`, and what to do."""
        limit = getattr(self, name)
        error = WorkflowError.standard(
            "runtime",
            f"{what}, over the limit of {limit} (WORKFLOW_{name.upper()}): {advice}",
        )
        error.final = final
        raise error
