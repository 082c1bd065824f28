"""`call: http`: one HTTP request, made once however often the run continues after it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from headrace.workflows.errors import fail
from headrace.workflows.model import Authentication, Done, Flow, Scope, Template
from headrace.workflows.reading import (
    WITH_SECRETS,
    Cursor,
    StepReader,
    attempts,
    kind_of,
    read_runtime_expression,
    read_template,
)
from headrace.workflows.steps.http.headers import check_header_name
from headrace.workflows.steps.http.replies import check_status, shape
from headrace.workflows.steps.http.requests import (
    authorization,
    body_of,
    check_endpoint,
    check_method,
    expand,
    headers_of,
    method_of,
    url_of,
)

# A request that may change something is repeated when the worker dies before its response is kept.
# By this header the other side recognises it.
_KEY = "idempotency-key"
_CHANGING = {"POST", "PUT", "PATCH", "DELETE"}


@dataclass(frozen=True, slots=True)
class HttpCallAction:
    """The request's parts. `endpoint` is a URI template unless it is an expression."""

    arguments: Template
    output: str
    redirect: bool
    authentication: Authentication | None = None

    async def perform(self, flow: Flow, scope: Scope) -> Done:
        """The response in the form that `output` asks for."""

        async def call() -> Any:
            return await self._call(flow, scope)

        return Done(await flow.once(call, scope))

    async def _call(self, flow: Flow, scope: Scope) -> Any:
        given = await flow.evaluate(self.arguments, scope.input, scope)
        method = method_of(given["method"])
        url = url_of(self._endpoint(given["endpoint"], scope.input), given.get("query"))
        headers = list(headers_of(given.get("headers")))
        if self.authentication is not None:
            proof = await flow.evaluate(self.authentication.fields, scope.input, scope)
            headers += headers_of(authorization(self.authentication.scheme, proof))
        content = body_of(given.get("body"), headers)
        if method in _CHANGING and all(name.lower() != _KEY for name, _ in headers):
            headers.append((_KEY, flow.key(scope)))
        reply = await flow.http.send(
            method, url, headers=headers, content=content, follow_redirects=self.redirect
        )
        check_status(reply, redirect=self.redirect)
        return shape(reply, self.output)

    def _endpoint(self, endpoint: Any, data: Any) -> str:
        written = self.arguments.value["endpoint"]
        if isinstance(endpoint, dict):
            endpoint, written = endpoint.get("uri"), written["uri"]
        if not isinstance(endpoint, str):
            fail("configuration", f"the endpoint must be a text, not {kind_of(endpoint)}")
        # What an expression gave is data: braces in it are not a template.
        return expand(endpoint, data) if isinstance(written, str) else endpoint


def read_http_call(fields: dict[str, Cursor], reader: StepReader) -> HttpCallAction:
    """The arguments under `with`."""
    if "with" not in fields:
        fields["call"].refuse("`with` is missing: it holds the method and the endpoint")
    given = fields["with"].mapping(
        {"method", "endpoint", "headers", "query", "body", "output", "redirect"},
        ("method", "endpoint"),
    )
    with attempts() as part:
        part(_read_method, given["method"])
        authentication = part(_read_endpoint, given["endpoint"], reader)
        for field in ("headers", "query"):
            if field in given:
                part(_read_map, given[field])
        output, redirect = "content", False
        if "output" in given:
            output = part(given["output"].one_of, "raw", "content", "response")
        if "redirect" in given:
            redirect = part(given["redirect"].flag)
        arguments = part(_read_arguments, fields["with"], given)
        return HttpCallAction(arguments, output, redirect, authentication)


def _read_arguments(cursor: Cursor, given: dict[str, Cursor]) -> Template:
    kept = {key: given[key].value for key in given if key not in ("output", "redirect")}
    if isinstance(kept["endpoint"], dict):
        kept["endpoint"] = {key: kept["endpoint"][key] for key in kept["endpoint"] if key == "uri"}
    return read_template(replace(cursor, value=kept), WITH_SECRETS)


def _read_method(cursor: Cursor) -> None:
    method = cursor.text()
    if "${" not in method:
        try:
            check_method(method)
        except ValueError as error:
            cursor.refuse(str(error))


def _read_endpoint(cursor: Cursor, reader: StepReader) -> Authentication | None:
    if not isinstance(cursor.value, dict):
        _read_uri(cursor)
        return None
    fields = cursor.mapping({"uri", "authentication"}, ("uri",))
    with attempts() as part:
        part(_read_uri, fields["uri"])
        return part.given(reader.authentication, fields, "authentication")


def _read_uri(cursor: Cursor) -> None:
    uri = cursor.text()
    if "${" in uri:
        read_runtime_expression(cursor, WITH_SECRETS)
        return
    try:
        check_endpoint(uri)
    except ValueError as error:
        cursor.refuse(str(error))


def _read_map(cursor: Cursor) -> None:
    if isinstance(cursor.value, str) and "${" in cursor.value:
        read_runtime_expression(cursor, WITH_SECRETS)
        return
    with attempts() as part:
        for field in cursor.fields().values():
            # The language's schema wants texts; numbers and booleans have one form as text.
            if not isinstance(field.value, int | float):
                part(field.text)
            if cursor.key == "headers":
                try:
                    check_header_name(field.key)
                except ValueError as error:
                    field.note(str(error))
