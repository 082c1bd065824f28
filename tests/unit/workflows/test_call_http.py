"""`call: http` (DSL reference, "HTTP Call") against a real server."""

from __future__ import annotations

import asyncio
import base64
import gzip
import socket
import uuid
from typing import Any

import msgspec
import pytest

from headrace.workflows import HttpPolicy, Runtime, Workflow
from tests.unit.workflows.harness import RUN_ID, Bench, calling
from tests.unit.workflows.web import Answer, Seen, Web, json

COMMUNICATION = "https://open-workflow-specification.org/spec/1.0.0/errors/communication"
TIMEOUT = "https://open-workflow-specification.org/spec/1.0.0/errors/timeout"
AUTHORIZATION = "https://open-workflow-specification.org/spec/1.0.0/errors/authorization"
CONFIGURATION = "https://open-workflow-specification.org/spec/1.0.0/errors/configuration"
EXPRESSION = "https://open-workflow-specification.org/spec/1.0.0/errors/expression"


async def test_content_is_read_by_its_type(bench: Bench, web: Web) -> None:
    web.routes = {
        "/json": json({"a": [1, 12345678901234567890]}),
        "/problem": Answer(200, b'{"title": "x"}', "application/problem+json; charset=utf-8"),
        "/text": Answer(200, "zürich".encode("latin-1"), "text/plain; charset=iso-8859-1"),
        "/xml": Answer(200, b"<a/>", "application/xml"),
        "/bytes": Answer(200, b"\x00\xff", "application/octet-stream"),
        "/untyped": Answer(200, b"abc"),
        "/empty": Answer(204),
    }
    expected = {
        "/json": {"a": [1, 12345678901234567890]},
        "/problem": {"title": "x"},
        "/text": "zürich",
        "/xml": "<a/>",
        "/bytes": base64.b64encode(b"\x00\xff").decode(),
        "/untyped": base64.b64encode(b"abc").decode(),
        "/empty": None,
    }
    for path, content in expected.items():
        assert await bench.output(calling(web.url + path)) == content
    assert web.connections == 1  # kept alive


async def test_raw_is_base_64_and_response_has_it_all(bench: Bench, web: Web) -> None:
    web.routes["/pet"] = json({"id": 1})
    assert (
        await bench.output(calling(f"{web.url}/pet", output="raw"))
        == base64.b64encode(b'{"id":1}').decode()
    )
    response = await bench.output(
        calling(f"{web.url}/pet", output="response", headers={"Authorization": "Bearer secret"})
    )
    assert response["request"]["method"] == "get"
    assert response["request"]["uri"] == f"{web.url}/pet"
    assert response["request"]["headers"]["authorization"] == "[redacted]"
    assert response["statusCode"] == 200
    assert response["headers"]["content-type"] == "application/json"
    assert response["content"] == {"id": 1}
    assert web.seen[-1].headers["authorization"] == "Bearer secret"


async def test_the_request_is_made_of_its_parts(bench: Bench, web: Web) -> None:
    web.routes["/orders/a%2Fb%20c"] = json({})
    workflow = calling(
        {"uri": f"{web.url}/orders/{{id}}?first={{n}}&none={{missing}}"},
        method="post",
        headers={"X-Run": "${ $workflow.id }", "X-None": "${ null }", "X-Number": "${ .n }"},
        query={"q": "${ .q }", "many": "${ .many }", "none": "${ null }", "flag": "${ true }"},
        body={"order": "${ .id }", "plain": "text", "list": ["${ .n }"]},
    )
    given = {"id": "a/b c", "n": 7, "q": "ü&=", "many": [1, "two"]}
    assert await bench.output(workflow, given) == {}
    (seen,) = web.seen
    assert seen.method == "POST"
    assert seen.path == ("/orders/a%2Fb%20c?first=7&none=&q=%C3%BC%26%3D&many=1&many=two&flag=true")
    assert seen.headers["x-run"] == RUN_ID
    assert seen.headers["x-number"] == "7"
    assert "x-none" not in seen.headers
    assert seen.headers["content-type"] == "application/json"
    assert msgspec.json.decode(seen.body) == {"order": "a/b c", "plain": "text", "list": [7]}


async def test_the_parts_may_be_expressions(bench: Bench, web: Web) -> None:
    web.routes["/a"] = json({})
    workflow = calling(
        "${ .url }", method="${ .method }", headers="${ .headers }", query="${ .query }"
    )
    given = {
        "url": f"{web.url}/a?z={{id}}#part",
        "method": "put",
        "headers": {"X-A": "1"},
        "query": {"q": 1},
        "id": "must not be put in: braces in data are data",
    }
    assert await bench.output(workflow, given) == {}
    assert (web.seen[0].method, web.seen[0].path) == ("PUT", "/a?z={id}&q=1")
    assert web.seen[0].headers["x-a"] == "1"


async def test_numbers_and_booleans_are_sent_as_their_texts(bench: Bench, web: Web) -> None:
    """Beyond the language's schema, which wants texts: real definitions have both."""
    web.routes["/"] = json({})
    workflow = calling(
        f"{web.url}/", headers={"X-Count": 3, "X-Dry": True}, query={"page": 2, "all": False}
    )
    await bench.output(workflow)
    seen = web.seen[0]
    assert (seen.headers["x-count"], seen.headers["x-dry"]) == ("3", "true")
    assert seen.path == "/?page=2&all=false"


@pytest.mark.parametrize(
    ("body", "headers", "sent", "content_type"),
    [
        ("text ü", {}, "text ü".encode(), "text/plain; charset=utf-8"),
        ("text", {"Content-Type": "application/json"}, b'"text"', "application/json"),
        (
            {"a": "1 2", "b": True},
            {"content-type": "application/x-www-form-urlencoded"},
            b"a=1+2&b=true",
            "application/x-www-form-urlencoded",
        ),
        ([1, None], {}, b"[1,null]", "application/json"),
        (False, {}, b"false", "application/json"),
        (None, {}, b"", None),
    ],
)
async def test_bodies_are_sent_by_their_type(
    bench: Bench, web: Web, body: Any, headers: Any, sent: bytes, content_type: str | None
) -> None:
    web.routes["/"] = Answer(204)
    await bench.output(calling(f"{web.url}/", "post", body=body, headers=headers))
    assert web.seen[0].body == sent
    assert web.seen[0].headers.get("content-type") == content_type


@pytest.mark.parametrize(("status", "retryable"), [(404, False), (503, True), (429, True)])
async def test_another_status_than_2xx_is_a_communication_error(
    bench: Bench, web: Web, status: int, retryable: bool
) -> None:
    web.routes["/pet"] = json({"secret": 1}, status)
    error = await bench.error(calling(f"{web.url}/pet?token=secret"))
    assert (error.type, error.status, error.instance) == (COMMUNICATION, status, "/do/0/call")
    assert error.detail.startswith(f"GET {web.url}/pet answered {status}")
    assert "secret" not in str(error)
    assert error.retryable is retryable


async def test_redirects_are_errors_unless_they_are_asked_for(bench: Bench, web: Web) -> None:
    web.routes = {
        "/old": Answer(302, headers=(("Location", "/new"),)),
        "/new": json({"new": True}),
        "/unchanged": Answer(304),
    }
    assert (await bench.error(calling(f"{web.url}/old"))).status == 302
    followed = await bench.output(calling(f"{web.url}/old", redirect=True, output="response"))
    assert followed["content"] == {"new": True}
    assert followed["request"]["uri"] == f"{web.url}/new"
    unchanged = await bench.output(
        calling(f"{web.url}/unchanged", redirect=True, output="response")
    )
    assert unchanged["statusCode"] == 304


async def test_redirects_in_a_circle_end(bench: Bench, web: Web) -> None:
    web.routes["/"] = Answer(302, headers=(("Location", "/"),))
    error = await bench.error(calling(f"{web.url}/", redirect=True))
    assert "more than 5 redirects" in error.detail
    assert len(web.seen) == 6


async def test_a_redirect_s_address_is_checked_too(bench: Bench, web: Web) -> None:
    location = f"http://127.0.0.2:{web.port}/"
    web.routes["/"] = Answer(302, headers=(("Location", location),))
    error = await bench.error(calling(f"{web.url}/", redirect=True))
    assert error.type == AUTHORIZATION
    assert "127.0.0.2" in error.detail
    assert len(web.seen) == 1


async def test_a_cookie_of_one_run_is_not_sent_by_the_next(bench: Bench, web: Web) -> None:
    web.routes["/"] = Answer(200, headers=(("Set-Cookie", "session=1; Path=/"),))
    for _ in range(2):
        await bench.output(calling(f"{web.url}/"))
    assert all("cookie" not in seen.headers for seen in web.seen)


async def test_a_server_that_hangs_is_a_timeout(web: Web) -> None:
    web.routes["/"] = Answer(hang=True)
    runtime = Runtime(HttpPolicy(allow=("127.0.0.1",), total_seconds=0.2))
    error = await Bench(runtime).error(calling(f"{web.url}/"))
    await runtime.close()
    assert (error.type, error.status) == (TIMEOUT, 408)
    assert error.retryable


async def test_a_server_that_drips_is_a_timeout(web: Web) -> None:
    endless = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"x" * 10
    web.routes["/"] = Answer(raw=endless)
    runtime = Runtime(HttpPolicy(allow=("127.0.0.1",), total_seconds=0.2))
    error = await Bench(runtime).error(calling(f"{web.url}/"))
    await runtime.close()
    assert error.type == TIMEOUT


async def test_nobody_listening_is_a_communication_error(bench: Bench) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        error = await bench.error(calling(f"http://127.0.0.1:{port}/"))
    assert (error.type, error.status) == (COMMUNICATION, 503)
    assert error.retryable


@pytest.mark.parametrize("compressed", [False, True])
async def test_an_answer_over_the_limit_is_refused(web: Web, compressed: bool) -> None:
    body = b"x" * 100_001
    headers = (("Content-Encoding", "gzip"),) if compressed else ()
    answer = Answer(200, gzip.compress(body) if compressed else body, "text/plain", headers)
    web.routes["/"] = answer
    runtime = Runtime(HttpPolicy(allow=("127.0.0.1",), max_response_bytes=100_000))
    error = await Bench(runtime).error(calling(f"{web.url}/"))
    await runtime.close()
    assert "over the limit of 100000 bytes" in error.detail
    assert web.seen[0].headers["accept-encoding"] == "identity"


async def test_json_that_is_none_is_a_communication_error(bench: Bench, web: Web) -> None:
    web.routes["/"] = Answer(200, b"{oops", "application/json")
    error = await bench.error(calling(f"{web.url}/"))
    assert (error.type, error.status) == (COMMUNICATION, 502)


@pytest.mark.parametrize(
    ("workflow", "given", "type_", "detail"),
    [
        (calling("${ .u }"), {"u": "ftp://a/"}, CONFIGURATION, "not an absolute http or https"),
        (calling("${ .u }"), {"u": "http://u:p@127.0.0.1/"}, CONFIGURATION, "credentials"),
        (calling("${ .u }"), {"u": 5}, CONFIGURATION, "must be a text, not a number"),
        (calling("${ .u }"), {"u": "http://a:65536/"}, CONFIGURATION, "Port out of range"),
        (calling("http://a:{p}/"), {"p": 99999}, CONFIGURATION, "Port out of range"),
        (calling("${ .u }"), {"u": "http://a:0/"}, CONFIGURATION, "port 0"),
        (calling("${ .u }"), {"u": "http://[::1/"}, CONFIGURATION, "Invalid IPv6"),
        (calling("${ .u }"), {"u": "http://a..b/"}, CONFIGURATION, "a..b"),
        (calling("http://{h}.example/"), {"h": "a" * 64}, CONFIGURATION, "a.example"),
        (calling("{u}"), {"u": "127.0.0.1"}, CONFIGURATION, "not an absolute http or https"),
        (calling("http://127.0.0.1/{id}"), {"id": [1]}, EXPRESSION, "a list"),
        (calling("http://127.0.0.1/", method="${ .m }"), {"m": "A B"}, CONFIGURATION, "method"),
        (
            calling("http://127.0.0.1/", headers={"X": "${ .h }"}),
            {"h": "a\r\nHost: b"},
            EXPRESSION,
            "line break",
        ),
        *(
            (
                calling("http://127.0.0.1/", method="${ .m }"),
                {"m": m},
                CONFIGURATION,
                "no HTTP method of those allowed (GET",
            )
            for m in ("SET", "CONNECT", "TRACE", "PROPFIND", "GETS", "", 5)
        ),
        (
            calling("http://127.0.0.1/", headers={"X": "${ .h }"}),
            {"h": "中"},
            CONFIGURATION,
            "more than ASCII",
        ),
        (
            calling("http://127.0.0.1/", headers="${ .h }"),
            {"h": {"Host": "b"}},
            CONFIGURATION,
            "cannot be set",
        ),
        (calling("http://127.0.0.1/", query="${ .q }"), {"q": "a=b"}, EXPRESSION, "a mapping"),
        (calling("http://127.0.0.1/", query="${ .q }"), {"q": {"a": {}}}, EXPRESSION, "'a'"),
    ],
)
async def test_what_data_makes_of_a_request_is_checked(
    bench: Bench, workflow: Workflow, given: Any, type_: str, detail: str
) -> None:
    error = await bench.error(workflow, given)
    assert error.type == type_
    assert detail in error.detail
    assert error.instance == "/do/0/call"
    assert not error.retryable


@pytest.mark.parametrize("name", ["Idempotency-Key", "idempotency-key"])
async def test_a_definition_s_own_idempotency_key_takes_the_place_of_the_run_s(
    bench: Bench, web: Web, name: str
) -> None:
    web.routes["/"] = json(1)
    headers = {name: "${ .order }"}
    await bench.output(calling(f"{web.url}/", "post", headers=headers), {"order": "order-7"})
    await bench.output(calling(f"{web.url}/", "post"), {})
    own, runs = (seen.headers["idempotency-key"] for seen in web.seen)
    assert own == "order-7"
    assert str(uuid.UUID(runs)) == runs


async def test_a_method_is_written_in_any_case(bench: Bench, web: Web) -> None:
    web.routes["/"] = Answer(204)
    for method in ("get", "Head", "POST", "put", "patch", "delete", "options"):
        await bench.output(calling(f"{web.url}/", method, output="raw"))
    methods = [seen.method for seen in web.seen]
    assert methods == ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


@pytest.mark.parametrize(
    "charset", ["idna", "punycode", "undefined", "hex", "rot13", "utf-7", "unicode_escape", "none"]
)
async def test_a_charset_that_is_none_reads_as_utf_8(bench: Bench, web: Web, charset: str) -> None:
    body = "zürich \\ud800 +2AA- ".encode() + b"\xff" * 300
    web.routes["/"] = Answer(200, body, f"text/plain; charset={charset}")
    assert await bench.output(calling(f"{web.url}/")) == body.decode("utf-8", "replace")


@pytest.mark.parametrize("charset", ["GB2312", "big5", "Shift_JIS", "utf-16", "windows-1252"])
async def test_the_charsets_of_the_web_are_read(bench: Bench, web: Web, charset: str) -> None:
    text = "zurich" if charset == "windows-1252" else "中"
    web.routes["/"] = Answer(200, text.encode(charset), f'text/html; charset="{charset}"')
    assert await bench.output(calling(f"{web.url}/")) == text


async def test_a_redirect_to_another_host_takes_no_credentials_along(
    bench: Bench, web: Web
) -> None:
    """Another port is another host, and any header but the plain ones may hold a credential."""
    other = Web()
    await other.start()
    secrets = {"X-Api-Key": "a", "Authorization": "Bearer b", "X-Auth-Token": "c", "Anything": "d"}
    plain = {"Accept": "text/plain", "Content-Type": "application/json"}
    web.routes = {
        "/near": Answer(307, headers=(("Location", "/new"),)),
        "/far": Answer(307, headers=(("Location", f"{other.url}/new"),)),
        "/new": json(1),
    }
    other.routes["/new"] = json(1)
    for path in ("/near", "/far"):
        workflow = calling(
            web.url + path, "post", headers={**secrets, **plain}, body={"a": 1}, redirect=True
        )
        assert await bench.output(workflow) == 1
    await other.close()
    near, far = web.seen[1], other.seen[0]
    for seen in (near, far):
        assert (seen.method, seen.body) == ("POST", b'{"a":1}')
        assert {name: seen.headers[name.lower()] for name in plain} == plain
    assert {name: near.headers[name.lower()] for name in secrets} == secrets
    assert not set(map(str.lower, secrets)) & set(far.headers)


async def test_a_redirect_s_user_and_password_are_neither_used_nor_shown(
    bench: Bench, web: Web
) -> None:
    location = f"http://user:hunter2@127.0.0.1:{web.port}/new"
    web.routes = {"/old": Answer(302, headers=(("Location", location),)), "/new": json(1)}
    workflow = calling(f"{web.url}/old", redirect=True, output="response")
    response = await bench.output(workflow)
    assert response["request"]["uri"] == f"{web.url}/new"
    assert "hunter2" not in str(response)
    assert "authorization" not in web.seen[1].headers
    web.routes["/new"] = Answer(404)
    assert "hunter2" not in str(await bench.error(workflow))


async def test_a_result_shows_no_header_that_may_hold_a_credential(bench: Bench, web: Web) -> None:
    web.routes["/"] = json(1)
    headers = {"X-Api-Key": "hunter2", "Accept": "text/plain"}
    response = await bench.output(calling(f"{web.url}/", headers=headers, output="response"))
    assert response["request"]["headers"]["x-api-key"] == "[redacted]"
    assert response["request"]["headers"]["accept"] == "text/plain"


@pytest.mark.parametrize("location", ["http://a:99999/", "http://[", "http://a b/"])
async def test_a_redirect_that_is_no_url_is_a_communication_error(
    bench: Bench, web: Web, location: str
) -> None:
    web.routes["/"] = Answer(302, headers=(("Location", location),))
    error = await bench.error(calling(f"{web.url}/", redirect=True))
    assert error.type in (COMMUNICATION, CONFIGURATION)
    assert len(web.seen) == 1


async def test_the_body_of_a_redirect_is_bounded(web: Web) -> None:
    headers = (("Location", "/new"),)
    web.routes = {"/": Answer(302, b"x" * 100_001, headers=headers), "/new": json(1)}
    runtime = Runtime(HttpPolicy(allow=("127.0.0.1",), max_response_bytes=100_000))
    error = await Bench(runtime).error(calling(f"{web.url}/", redirect=True))
    await runtime.close()
    assert "over the limit of 100000 bytes" in error.detail


async def test_what_comes_before_an_answer_is_bounded(bench: Bench, web: Web) -> None:
    hundred = b"HTTP/1.1 100 Continue\r\n\r\n" * 1_000
    web.routes["/"] = Answer(raw=hundred, repeat=2_000)
    error = await bench.error(calling(f"{web.url}/"))
    assert (error.type, error.retryable) == (COMMUNICATION, True)
    assert "no answer began within the first 262144 bytes" in error.detail
    assert web.sent < 500  # the rest never left: the connection was closed


async def test_a_few_interim_answers_are_passed_over(bench: Bench, web: Web) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: application/json\r\n\r\n42"
    web.routes["/"] = Answer(raw=b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 50 + answer)
    assert await bench.output(calling(f"{web.url}/")) == 42


async def test_cancelling_ends_the_call(bench: Bench, web: Web) -> None:
    started = asyncio.Event()

    def hang(_seen: Seen) -> Answer:
        started.set()
        return Answer(hang=True)

    web.routes["/"] = hang
    run = asyncio.create_task(bench.execute(calling(f"{web.url}/")))
    await started.wait()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert bench.checkpoints == []
