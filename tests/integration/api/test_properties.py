"""The OpenAPI document against the running API: generated requests, each reply as documented."""

from __future__ import annotations

from typing import TYPE_CHECKING

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.generation import GenerationMode

from tests.integration.api.processes import ApiProcess

if TYPE_CHECKING:
    from pathlib import Path

    from schemathesis import Case
    from schemathesis.schemas import APIOperation

    from tests.servers import RedisServer

REQUESTS_AN_ADDRESS = 12


def try_out(operation: APIOperation, mode: GenerationMode) -> None:
    """Send generated requests to one address: such as the document allows, or does not allow."""

    @settings(
        max_examples=REQUESTS_AN_ADDRESS,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def answers_as_documented(case: Case) -> None:
        # 501 and 503 are answers like others here; 500 never is.
        response = case.call_and_validate(excluded_checks=[not_a_server_error], timeout=10)
        assert response.status_code != 500, response.text

    answers_as_documented()


def test_every_reply_is_as_documented(server: RedisServer, tmp_path: Path) -> None:
    with ApiProcess(tmp_path / "log", REDIS_URL=server.url) as api:
        schema = schemathesis.openapi.from_url(f"{api.url}/openapi.json")
        found = schema.get_all_operations()
        operations = [one.ok() for one in found if isinstance(one, Ok)]
        for operation in operations:
            try_out(operation, GenerationMode.POSITIVE)
            if operation.body or len(operation.query) or len(operation.headers):
                try_out(operation, GenerationMode.NEGATIVE)
        assert len(operations) == 20
        assert not api.events("http.error")
