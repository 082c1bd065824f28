"""API keys: who is let in, what each role may do, and a file that changes."""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path
from unittest.mock import Mock

import pytest
from starlette.datastructures import Headers

from headrace.contract.problems import CROSS_SITE, FORBIDDEN, UNAUTHORIZED
from headrace.settings import ApiKey, Role
from headrace_api.http.anonymous import Anonymous
from headrace_api.http.auth import PERMISSIONS, KeyRing, Permission
from headrace_api.http.problems import Problem
from tests.unit.api.harness import api_settings, running


def new_key(role: Role) -> tuple[str, ApiKey]:
    key = secrets.token_urlsafe(32)
    return key, ApiKey(role, hashlib.sha256(key.encode()).digest(), "test")


def ring_at(bound_host: str, *names: str, origins: tuple[str, ...] = ()) -> KeyRing:
    """Without keys, on a server that listens there and answers to these names as well."""
    return KeyRing(open_to=Anonymous(bound_host, names, origins))


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_without_any_key_everybody_may_do_everything() -> None:
    ring = KeyRing()
    for permission in Permission:
        ring.check(Headers(), permission)
    assert ring.anonymous


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_without_keys_a_foreign_page_may_look_but_not_act(site: str) -> None:
    headers = Headers({"Sec-Fetch-Site": site})
    KeyRing().check(headers, Permission.READ)
    for permission in (Permission.SUBMIT, Permission.OPERATE):
        with pytest.raises(Problem) as caught:
            KeyRing().check(headers, permission)
        assert caught.value.kind is CROSS_SITE
    KeyRing().check(Headers({"Sec-Fetch-Site": "same-origin"}), Permission.SUBMIT)


@pytest.mark.parametrize(
    ("origin", "host", "taken"),
    [
        ("http://192.0.2.7:8000", "192.0.2.7:8000", True),
        ("https://API.example", "api.example", True),
        ("http://evil.example", "192.0.2.7:8000", False),
        ("http://192.0.2.7:9000", "192.0.2.7:8000", False),
        ("null", "192.0.2.7:8000", False),
        ("http://evil.example", None, False),
    ],
)
def test_a_browser_that_tells_the_origin_alone_is_judged_by_it(
    origin: str, host: str | None, taken: bool
) -> None:
    ring = ring_at("0.0.0.0", "api.example")
    headers = Headers({"Origin": origin.lower()} | ({} if host is None else {"Host": host}))
    ring.check(headers, Permission.READ)
    if taken:
        ring.check(headers, Permission.SUBMIT)
        return
    with pytest.raises(Problem) as caught:
        ring.check(headers, Permission.SUBMIT)
    assert caught.value.kind is CROSS_SITE


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost:8000", "LOCALHOST:80", "127.0.0.1:8000", "127.0.0.2", "[::1]:8"],
)
def test_an_api_open_to_this_machine_answers_to_its_names(host: str) -> None:
    ring_at("127.0.0.1").check(Headers({"Host": host}), Permission.SUBMIT)


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8000", "localhost.evil.example", "192.0.2.7", "[", "", "a b"],
)
def test_a_site_whose_name_leads_to_this_machine_is_refused(host: str) -> None:
    # Its page is of the same origin: the browser sees nothing wrong.
    headers = Headers({"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"})
    for permission in set(Permission) - {Permission.OPEN}:
        with pytest.raises(Problem) as caught:
            ring_at("127.0.0.1").check(headers, permission)
        assert caught.value.kind is CROSS_SITE
    ring_at("127.0.0.1").check(headers, Permission.OPEN)
    key, entry = new_key(Role.SUBMIT)
    with_key = Headers({"Host": host, "X-API-Key": key})
    KeyRing((entry,)).check(with_key, Permission.SUBMIT)


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "api", "[", "", "a b"])
@pytest.mark.parametrize("bound_host", ["0.0.0.0", "::", "192.0.2.7"])
def test_an_api_open_to_others_is_guarded_from_foreign_names_as_well(
    host: str, bound_host: str
) -> None:
    headers = Headers({"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"})
    for permission in set(Permission) - {Permission.OPEN}:
        with pytest.raises(Problem, match="ALLOWED_HOSTS") as caught:
            ring_at(bound_host).check(headers, permission)
        assert caught.value.kind is CROSS_SITE


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1", "192.0.2.7:80", "[2001:db8::1]:8"])
def test_an_api_open_to_others_answers_to_addresses(host: str) -> None:
    ring_at("0.0.0.0").check(Headers({"Host": host}), Permission.SUBMIT)


@pytest.mark.parametrize(
    ("allowed", "host", "taken"),
    [
        ("api", "api:8000", True),
        ("API.example", "api.EXAMPLE", True),
        ("*.example", "a.b.example", True),
        ("*.example", "example", False),
        ("*.example", "badexample", False),
        ("example", "a.example", False),
        ("*", "any.thing", True),
    ],
)
@pytest.mark.parametrize("bound_host", ["127.0.0.1", "0.0.0.0"])
def test_more_names_are_allowed_by_a_setting(
    allowed: str, host: str, taken: bool, bound_host: str
) -> None:
    ring = ring_at(bound_host, allowed)
    if taken:
        ring.check(Headers({"Host": host}), Permission.SUBMIT)
        return
    with pytest.raises(Problem):
        ring.check(Headers({"Host": host}), Permission.SUBMIT)


def test_a_page_of_an_allowed_origin_may_act() -> None:
    ring = ring_at("127.0.0.1", origins=("https://app.example",))
    page = {"Host": "localhost", "Origin": "https://app.example", "Sec-Fetch-Site": "cross-site"}
    ring.check(Headers(page), Permission.SUBMIT)
    with pytest.raises(Problem):
        ring.check(Headers({**page, "Origin": "https://app.example.evil"}), Permission.SUBMIT)


@pytest.mark.parametrize("role", list(Role))
def test_a_role_may_do_what_the_table_says_and_nothing_else(role: Role) -> None:
    key, entry = new_key(role)
    ring = KeyRing((entry,))
    headers = Headers({"Authorization": f"Bearer {key}"})
    for permission in set(Permission) - {Permission.OPEN}:
        if permission in PERMISSIONS[role]:
            ring.check(headers, permission)
            continue
        with pytest.raises(Problem) as caught:
            ring.check(headers, permission)
        assert caught.value.kind is FORBIDDEN
        assert "admin" in caught.value.extensions["roles"]


def test_an_operator_drains_and_reads_stats_but_submits_nothing() -> None:
    assert PERMISSIONS[Role.OPERATOR] == {Permission.OBSERVE, Permission.OPERATE}


@pytest.mark.parametrize("header", ["Authorization", "X-API-Key"])
def test_a_key_is_taken_from_either_header(header: str) -> None:
    key, entry = new_key(Role.READ)
    value = f"bearer {key}" if header == "Authorization" else key
    KeyRing((entry,)).check(Headers({header: value}), Permission.READ)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer "},
        {"Authorization": "Basic abc"},
        {"X-API-Key": ""},
        {"X-API-Key": "wrong"},
        {"X-API-Key": "\xff"},
    ],
)
def test_no_key_or_a_wrong_one_is_a_401_that_says_how(headers: dict[str, str]) -> None:
    _, entry = new_key(Role.ADMIN)
    with pytest.raises(Problem) as caught:
        KeyRing((entry,)).check(Headers(headers), Permission.READ)
    assert caught.value.kind is UNAUTHORIZED
    assert caught.value.headers["WWW-Authenticate"].startswith("Bearer")


def test_open_routes_need_no_key() -> None:
    _, entry = new_key(Role.ADMIN)
    KeyRing((entry,)).check(Headers(), Permission.OPEN)


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    clock = Clock()
    (old, first), (new, second) = new_key(Role.READ), new_key(Role.SUBMIT)
    file = tmp_path / "keys"
    file.write_text(f"read:{first.digest.hex()}:old\n")
    ring = KeyRing((), file, clock=clock)
    ring.check(Headers({"X-API-Key": old}), Permission.READ)

    # As Kubernetes does it: another file takes the place of the first.
    replacement = tmp_path / "new"
    replacement.write_text(f"# the new one\nsubmit:{second.digest.hex()}:new\n")
    os.replace(replacement, file)
    clock.now += 2

    ring.check(Headers({"X-API-Key": new}), Permission.SUBMIT)
    with pytest.raises(Problem):
        ring.check(Headers({"X-API-Key": old}), Permission.READ)


@pytest.mark.parametrize("change", ["broken", "gone"])
def test_a_file_that_cannot_be_read_leaves_the_keys_as_they_were(
    tmp_path: Path, change: str
) -> None:
    clock = Clock()
    key, entry = new_key(Role.READ)
    file = tmp_path / "keys"
    file.write_text(f"read:{entry.digest.hex()}")
    ring = KeyRing((), file, clock=clock)
    if change == "gone":
        file.unlink()
    else:
        file.write_text("nonsense, and longer than before " * 10)
    clock.now += 2
    ring.check(Headers({"X-API-Key": key}), Permission.READ)


def test_a_file_that_could_not_be_opened_is_read_once_it_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    _, first = new_key(Role.READ)
    new, second = new_key(Role.READ)
    file = tmp_path / "keys"
    file.write_text(f"read:{first.digest.hex()}:old\n")
    ring = KeyRing((), file, clock=clock)
    file.write_text(f"read:{second.digest.hex()}:the one after it\n")
    clock.now += 2
    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_text", Mock(side_effect=OSError(24, "Too many open files")))
        with pytest.raises(Problem):
            ring.check(Headers({"X-API-Key": new}), Permission.READ)
    clock.now += 2
    ring.check(Headers({"X-API-Key": new}), Permission.READ)


def test_an_emptied_file_lets_nobody_in(tmp_path: Path) -> None:
    clock = Clock()
    key, entry = new_key(Role.READ)
    file = tmp_path / "keys"
    file.write_text(f"read:{entry.digest.hex()}")
    ring = KeyRing((), file, clock=clock)
    file.write_text("# all withdrawn\n")
    clock.now += 2
    with pytest.raises(Problem):
        ring.check(Headers({"X-API-Key": key}), Permission.READ)


async def test_the_check_comes_before_all_else_and_probes_stay_open(tmp_path: Path) -> None:
    key, entry = new_key(Role.READ)
    async with running(api_settings(tmp_path, api_keys=(entry,))) as api:
        assert (await api.get("/healthz")).status_code == 200
        assert (await api.get("/readyz")).status_code == 200
        refused = await api.execute("no-such-workflow", content=b"{")
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"].startswith("Bearer")
        assert refused.json()["type"] == UNAUTHORIZED.uri
        forbidden = await api.execute(headers={"X-API-Key": key})
        assert forbidden.status_code == 403
        assert forbidden.json()["roles"] == ["submit", "manager", "admin"]
        assert (await api.get("/api/workflows", headers={"X-API-Key": key})).status_code == 200
