"""Headers and tags of a task: what the body asks for, and the headers that the API adds itself.

It adds the name of the request's API key, and the request's `traceparent` (W3C Trace Context), so
that a handler's spans belong to the trace of whoever submitted the task.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from headrace.limits import OWN_HEADER_PREFIX
from headrace.taskqueue import TaskInvalid, check_options
from headrace.workflows import is_read_by_0_2_0
from headrace_api.http.auth import KEY_NAME
from headrace_api.http.bodies import invalid_field

if TYPE_CHECKING:
    from starlette.requests import Request

    from headrace.workflows import Workflow
    from headrace_api.http.bodies import ExecuteBody, SubmitBody

KEY_HEADER = OWN_HEADER_PREFIX + "key"
RELEASE_HEADER = OWN_HEADER_PREFIX + "release"
"""The release whose workers can run the task, where older ones cannot."""
MAX_KEY_NAME = 128
"""A longer name of an API key is cut in the header."""

_is_traceparent = re.compile(
    rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
).fullmatch


def added_headers(request: Request) -> dict[str, str]:
    """The headers that the API adds to each task of a request."""
    headers = {}
    if key_name := request.scope[KEY_NAME]:
        headers[KEY_HEADER] = key_name[:MAX_KEY_NAME]
    # As the server has them: `request.headers` decodes each one that it passes.
    for name, value in request.scope["headers"]:
        if name == b"traceparent" and _is_traceparent(value):
            headers["traceparent"] = value.decode()
    return headers


def release_headers(workflow: Workflow | None) -> dict[str, str]:
    """The header of a run whose definition version 0.2.0 cannot read; its workers are kept off."""
    if workflow is None or is_read_by_0_2_0(workflow):
        return {}
    return {RELEASE_HEADER: "0.3"}


def options_of(
    body: ExecuteBody | SubmitBody, added: dict[str, str], place: str = ""
) -> dict[str, Any]:
    """The headers and tags of a task, as `NewTask` takes them. `place`: as in `start_of`.

    A worker that is too old to read them may run a task that has added headers alone, unless one
    of them is `RELEASE_HEADER`. Raises the 422 problem.
    """
    given, tags = body.headers, body.tags
    if not (given or tags):
        return {"headers": added, "options_needed": RELEASE_HEADER in added} if added else {}
    for name in given:
        if name.startswith(OWN_HEADER_PREFIX):
            reason = f"the API sets the headers that begin with {OWN_HEADER_PREFIX}: rename {name}"
            raise invalid_field(f"{place}/headers", reason)
    headers = {**added, **given}
    try:
        check_options(headers, tags)
    except TaskInvalid as error:
        raise invalid_field(place, str(error)) from None
    return {"headers": headers, "tags": tags, "options_needed": True}
