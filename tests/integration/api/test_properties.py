"""The OpenAPI document against the running API: generated requests, each reply as documented.

An API with keys is asked by every role and without a key; a second one has no keys and lets
everybody in. Tasks in every state, requests that the document allows and such that it does not, and
chains of requests: a few hundred; `make soak` sends 20,000, and CI 2,000. The seed is fixed;
`HEADRACE_API_SEED` sets another one.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.generation import GenerationMode

from tests.integration.api.feeding import API_KEYS, LEASE_SECONDS, ROLES, Supply, fed, fill
from tests.integration.api.processes import ApiProcess
from tests.unit.api.harness import write_workflows

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from schemathesis import Case
    from schemathesis.core.transport import Response
    from schemathesis.schemas import APIOperation, BaseSchema

    from tests.servers import RedisServer

CASES = int(os.environ.get("HEADRACE_API_CASES", "400"))
SEED = int(os.environ.get("HEADRACE_API_SEED", "20260101"))
WITHOUT_KEYS_SHARE = 0.2
"""Of all requests: there the keys of the others make no difference."""
STATEFUL_SHARE = 0.2
STEPS = 10
"""Requests in a chain."""
ENOUGH = 0.3
"""So many of each address's requests must succeed, or the generator sees only its refusals."""
DOCUMENTED_5XX = {501, 503}
"""Answers like others here: an unknown task type, and what passes by itself."""

LEFT_OUT = r"/live$|^/api/bulk"
"""Streams have no end. Bulk operations would take the tasks away that other requests are about."""

SETTINGS: dict[str, Any] = {
    "deadline": None,
    "database": None,
    "suppress_health_check": list(HealthCheck),
}


class Tally:
    """Sends requests and counts their answers by address."""

    def __init__(self, supply: Supply) -> None:
        self._supply = supply
        self.answers: dict[str, Counter[int]] = defaultdict(Counter)

    @property
    def cases(self) -> int:
        """How many were sent."""
        return sum(answers.total() for answers in self.answers.values())

    def send(self, case: Case) -> None:
        """Send one and compare its reply with the document."""
        fill(self._supply, case)
        self.check(case, case.call(timeout=20))

    def check(self, case: Case, response: Response) -> None:
        """Count a reply, and raise for one that is not as documented."""
        self.answers[case.operation.label][response.status_code] += 1
        assert response.status_code < 500 or response.status_code in DOCUMENTED_5XX, response.text
        case.validate_response(response, excluded_checks=[not_a_server_error])

    def rare(self) -> dict[str, Counter[int]]:
        """The addresses that too few requests succeeded at."""
        return {
            label: answers
            for label, answers in self.answers.items()
            if sum(n for status, n in answers.items() if status < 300) < ENOUGH * answers.total()
        }


def try_out(operation: APIOperation, mode: GenerationMode, cases: int, tally: Tally) -> None:
    """Send generated requests to one address: such as the document allows, or does not allow."""

    @seed(SEED)
    @settings(max_examples=cases, phases=[Phase.explicit, Phase.generate], **SETTINGS)
    @given(case=operation.as_strategy(generation_mode=mode))
    def answers_as_documented(case: Case) -> None:
        tally.send(case)

    answers_as_documented()


def try_chains(schema: BaseSchema, chosen: int, cases: int, tally: Tally) -> None:
    """Send chains of requests, each made of what the ones before it were answered."""

    class Chains(schema.as_state_machine()):  # type: ignore[misc]
        def before_call(self, case: Case) -> None:
            fill(tally._supply, case)

        def validate_response(self, response: Response, case: Case, **_: object) -> None:
            tally.check(case, response)

    seed(chosen)(Chains)
    Chains.run(
        settings=settings(
            max_examples=max(1, cases // STEPS),
            stateful_step_count=STEPS,
            phases=[Phase.generate],
            **SETTINGS,
        )
    )


def try_everything(api: ApiProcess, roles: Sequence[str | None], cases: int, tally: Tally) -> None:
    """Send so many requests to all addresses of an API, in these roles, and chains of them."""
    schema = schemathesis.openapi.from_url(f"{api.url}/openapi.json").exclude(path_regex=LEFT_OUT)
    schema.hooks.register_hook_with_name(
        lambda context, strategy: fed(context.operation, strategy, roles), "before_generate_case"
    )
    operations = [found.ok() for found in schema.get_all_operations() if isinstance(found, Ok)]
    assert len(operations) == 28
    enough = tally.cases + cases
    each = int(cases * (1 - STATEFUL_SHARE) / len(operations))
    for operation in operations:
        refusable = bool(operation.body or len(operation.query) or len(operation.headers))
        negative = each // 5 if refusable else 0
        try_out(operation, GenerationMode.POSITIVE, each - negative, tally)
        if negative:
            try_out(operation, GenerationMode.NEGATIVE, negative, tally)
    # Some addresses have fewer different requests than that; chains make up for them.
    rounds = 0
    while tally.cases < enough:
        try_chains(schema, SEED + rounds, enough - tally.cases, tally)
        rounds += 1


@pytest.mark.timeout(180 + CASES)
# Of weak references in the generator, while it forgets its state machines.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_every_reply_is_as_documented(server: RedisServer, tmp_path: Path) -> None:
    shared = {
        "REDIS_URL": server.url,
        "LEASE_SECONDS": str(LEASE_SECONDS),
        "WORKFLOWS_DIR": str(write_workflows(tmp_path / "workflows")),
    }
    without_keys = int(CASES * WITHOUT_KEYS_SHARE)
    with Supply(server.url) as supply:
        tally = Tally(supply)
        for name, api_keys, roles, cases in (
            ("keys", API_KEYS, ROLES, CASES - without_keys),
            ("anonymous", "", (None,), without_keys),
        ):
            with ApiProcess(tmp_path / name, shared, API_KEYS=api_keys) as api:
                try_everything(api, roles, cases, tally)
                assert not api.events("http.error")
        for label, answers in tally.answers.items():
            print(f"{label}: {dict(sorted(answers.items()))}")
        print(f"{tally.cases} requests")
        assert not tally.rare()
