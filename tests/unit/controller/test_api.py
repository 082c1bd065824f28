"""How the API is called: with which key, how long, how much of the answer, and never elsewhere."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from controller import kube
from controller.api import Api, ApiError, Credentials, credentials, may_have_key
from controller.kube import Json, Kube, KubeError
from controller.model import Reading, Reason, Unread
from controller.stats import LARGEST_REPLY
from tests.cluster.certificates import certificate
from tests.unit.controller.fakes import NAMESPACE, Clock
from tests.unit.controller.test_stats import REPLY

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def secret(**data: str) -> Json:
    names = {"ca": "ca.crt"}
    encoded = {
        names.get(name, name): base64.b64encode(text.encode()).decode()
        for name, text in data.items()
    }
    return {"metadata": {}, "data": encoded}


class Secrets(Kube):
    """Has one Secret, or an error in its place."""

    def __init__(self, found: Json | KubeError | None = None) -> None:
        self.found = found
        self.asked = 0

    async def get(self, path: str, **query: str) -> Json:
        assert path == kube.secret(NAMESPACE, "operator-key")
        self.asked += 1
        if isinstance(self.found, KubeError):
            raise self.found
        assert self.found is not None
        return self.found


class Served:
    """An API that answers as the test says, and what it was asked."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, str | None]] = []
        self.answer: Answer = self.stats
        self.url = ""
        self.runner: web.AppRunner

    async def stats(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(REPLY)

    async def take(self, request: web.Request) -> web.StreamResponse:
        key = request.headers.get("Authorization")
        self.requests.append((request.method, request.raw_path, key))
        return await self.answer(request)

    def answers(self, status: int, **headers: str) -> None:
        """Answer with this from now on."""

        async def answer(_: web.Request) -> web.StreamResponse:
            return web.Response(status=status, headers=headers)

        self.answer = answer


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    found = Served()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", found.take)
    runner = found.runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.url = "http://127.0.0.1:{1}".format(*runner.addresses[0])
    yield found
    await runner.cleanup()


@asynccontextmanager
async def calling(
    url: str,
    secrets: Secrets | None = None,
    clock: Clock | None = None,
    own_url: str | None = None,
) -> AsyncIterator[Api]:
    """The API at this URL, which is the release's own unless the test says another."""
    name = None if secrets is None else "operator-key"
    own = url if own_url is None else own_url
    api = Api(secrets or Secrets(), (url, NAMESPACE, name), clock or Clock(0), own_url=own)
    try:
        yield api
    finally:
        await api.close()


async def refusal(api: Api) -> str:
    found = await api.stats()
    assert isinstance(found, Unread)
    assert found.reason is Reason.STATS_UNAVAILABLE
    return found.message


async def test_without_a_secret_no_key_is_sent(served: Served) -> None:
    async with calling(served.url) as api:
        assert isinstance(await api.stats(), Reading)
    assert served.requests == [("GET", "/api/workflows/queue/stats", None)]


async def test_a_path_prefix_and_the_secrets_key_are_used(served: Served) -> None:
    async with calling(f"{served.url}/headrace", Secrets(secret(key="k1\n"))) as api:
        assert isinstance(await api.stats(), Reading)
        assert await api.drain("pod-1/a b")
        assert await api.undrain("w")
    assert served.requests == [
        ("GET", "/headrace/api/workflows/queue/stats", "Bearer k1"),
        ("POST", "/headrace/api/workers/pod-1%2Fa%20b/drain", "Bearer k1"),
        ("POST", "/headrace/api/workers/w/undrain", "Bearer k1"),
    ]


def annotated(url: str, **data: str) -> Json:
    found = secret(**data)
    found["metadata"]["annotations"] = {"headrace.dev/api-url": url}
    return found


@pytest.mark.parametrize("own_url", ["", "http://headrace-api.headrace.svc:8000"])
async def test_a_key_goes_to_no_api_that_its_secret_is_not_for(
    served: Served, own_url: str
) -> None:
    for found in (secret(key="k1"), annotated("http://else:8000", key="k1")):
        async with calling(served.url, Secrets(found), own_url=own_url) as api:
            message = await refusal(api)
            assert f"is not for {served.url}: annotate the Secret with" in message
            with pytest.raises(ApiError, match="operator-key"):
                await api.drain("w")
    assert served.requests == []


async def test_a_key_goes_to_the_api_that_its_secret_is_for(served: Served) -> None:
    found = annotated(f"{served.url}/", key="k1")
    async with calling(served.url, Secrets(found), own_url="http://else:8000") as api:
        assert isinstance(await api.stats(), Reading)
    assert served.requests[0][2] == "Bearer k1"


async def test_a_key_that_an_api_may_not_have_any_more_is_not_sent_again(served: Served) -> None:
    clock, secrets = Clock(0), Secrets(annotated(served.url, key="k1"))
    async with calling(served.url, secrets, clock, own_url="") as api:
        assert isinstance(await api.stats(), Reading)
        secrets.found = annotated("http://else", key="k1")
        clock.now = 61
        await api.stats()
        await asyncio.sleep(0)
        before = len(served.requests)
        assert "is not for" in await refusal(api)
        assert len(served.requests) == before


async def test_a_secret_without_a_key_may_name_certificates_for_any_api(served: Served) -> None:
    async with calling(served.url, Secrets(secret()), own_url="") as api:
        assert isinstance(await api.stats(), Reading)
    assert served.requests[0][2] is None


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("http://api:8000", True),
        ("http://API:8000/", True),
        ("https://api:8000", False),
        ("http://api:8001", False),
        ("http://api", False),
        ("http://api:8000/other", False),
        ("http://api.evil:8000", False),
        ("http://[", False),
        ("", False),
    ],
)
def test_an_api_is_the_one_of_its_whole_base_url(url: str, allowed: bool) -> None:
    assert may_have_key("http://api:8000", annotated(url), "") is allowed
    assert may_have_key("http://api:8000", {"metadata": {}}, url) is allowed
    assert not may_have_key("", annotated(""), "")


async def test_a_redirect_is_not_followed(served: Served) -> None:
    served.answers(307, Location=f"{served.url}/elsewhere")
    async with calling(served.url, Secrets(secret(key="k1"))) as api:
        assert "redirects are not followed" in await refusal(api)
    assert len(served.requests) == 1


async def test_no_proxy_of_the_environment_is_used(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    async with calling(served.url) as api:
        assert isinstance(await api.stats(), Reading)


async def test_a_worker_that_is_not_there_is_no_error(served: Served) -> None:
    served.answers(404)
    async with calling(served.url) as api:
        assert not await api.drain("w")


@pytest.mark.parametrize("status", [401, 403, 409, 500, 503])
async def test_a_mark_that_is_refused_is_an_error(served: Served, status: int) -> None:
    served.answers(status)
    async with calling(served.url) as api:
        with pytest.raises(ApiError, match=str(status)):
            await api.drain("w")


async def test_an_answer_that_does_not_come_is_given_up(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("controller.api.CALL_SECONDS", 0.1)

    async def never(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(5)
        return web.Response()

    async def stops_midway(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(json.dumps(REPLY)[:20].encode())
        await asyncio.sleep(5)
        return response

    for served.answer in (never, stops_midway):
        async with calling(served.url) as api:
            assert "no answer from" in await refusal(api)


async def test_nothing_that_listens_is_told() -> None:
    async with calling("http://127.0.0.1:9") as api:
        message = await refusal(api)
    assert "http://127.0.0.1:9 cannot be reached (Connect call failed" in message
    assert "ssl" not in message


async def test_a_name_that_nobody_has_is_told() -> None:
    async with calling("http://nobody.invalid:8000") as api:
        message = await refusal(api)
    assert "cannot be reached" in message
    assert "ssl" not in message


async def test_an_answer_without_end_is_not_read_to_its_end(served: Served) -> None:
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        while sent < 20 * LARGEST_REPLY:
            await response.write(b" " * 2**20)
            sent += 2**20
        return response

    served.answer = endless
    async with calling(served.url) as api:
        found = await api.stats()
    assert isinstance(found, Unread)
    assert found.reason is Reason.STATS_INVALID
    assert sent < 10 * LARGEST_REPLY


async def test_the_secret_is_read_again_each_minute_and_soon_after_a_refusal(
    served: Served,
) -> None:
    clock, secrets = Clock(0), Secrets(secret(key="old"))
    async with calling(served.url, secrets, clock) as api:
        for clock.now in (0, 1, 59):
            await api.stats()
        assert secrets.asked == 1
        clock.now = 60
        secrets.found = secret(key="new")
        await api.stats()
        await asyncio.sleep(0)
        await api.stats()
        assert (secrets.asked, served.requests[-1][2]) == (2, "Bearer new")
        served.answers(401)
        clock.now = 61
        assert "role operator" in await refusal(api)
        secrets.found = secret(key="newest")
        clock.now = 66
        await api.stats()
        await asyncio.sleep(0)
        served.answer = served.stats
        assert isinstance(await api.stats(), Reading)
        assert served.requests[-1][2] == "Bearer newest"


async def test_a_secret_that_cannot_be_read_is_told_and_the_known_key_is_kept(
    served: Served,
) -> None:
    clock, secrets = Clock(0), Secrets(KubeError(404, "x"))
    async with calling(served.url, secrets, clock) as api:
        assert "there is no Secret operator-key" in await refusal(api)
        assert await refusal(api)
        assert (secrets.asked, served.requests) == (1, [])
        secrets.found = secret(key="k1")
        clock.now = 5
        assert isinstance(await api.stats(), Reading)
        secrets.found = KubeError(0, "no answer")
        clock.now = 66
        assert isinstance(await api.stats(), Reading)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (secret(key="a\nb"), "`key` holds"),
        (secret(key="schlüssel"), "`key` holds"),
        ({"data": {"key": "/w=="}}, "`key` is not text"),
        (secret(key="k", ca="no certificate"), "no certificates in PEM"),
    ],
    ids=str,
)
def test_a_secret_that_cannot_be_used_says_why(found: Json, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        credentials(found)


def test_a_secret_may_hold_no_key() -> None:
    assert credentials({}) == Credentials()


async def test_only_the_certificates_of_the_secret_are_trusted_where_it_holds_some(
    served: Served, tmp_path: Path
) -> None:
    _, own = certificate(tmp_path, "localhost")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "tls.crt", tmp_path / "tls.key")
    (tmp_path / "other").mkdir()
    _, other = certificate(tmp_path / "other", "localhost")
    await web.TCPSite(served.runner, "127.0.0.1", 0, ssl_context=context).start()
    url = f"https://localhost:{served.runner.addresses[1][1]}"
    async with calling(url, Secrets(secret(key="k", ca=own))) as api:
        assert isinstance(await api.stats(), Reading)
    for secrets in (Secrets(secret(key="k", ca=other)), Secrets(secret(key="k"))):
        async with calling(url, secrets) as api:
            assert "certificate verify failed" in await refusal(api)
    assert len(served.requests) == 1
