"""What kopf is set up to do: watch, and nothing else."""

from __future__ import annotations

import itertools
import ssl
import time
from pathlib import Path
from typing import Any

import kopf
import pytest

from controller import handlers, watched
from controller.kube import Kube
from controller.watched import Watched

KUBECONFIG = """
clusters: [{name: c, cluster: {server: "https://k:6443"}}]
users: [{name: u, user: {token: t}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
"""


def test_no_handler_could_ask_for_a_finalizer_or_write() -> None:
    made = handlers.registry(Watched(["shop"]))
    for kind in (made._spawning, made._changing, made._webhooks):
        assert not kind.get_all_handlers()


def test_each_index_has_the_name_that_watched_knows_it_by() -> None:
    made = handlers.registry(Watched(["shop"]))
    names = {str(handler.id) for handler in made._indexing.get_all_handlers()}
    assert names == set(watched.COLLECTIONS)


async def test_kopf_logs_in_as_the_rest_does_and_may_do_so_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handlers, "LOGIN_SECONDS", 0.05)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    (tmp_path / "kubeconfig").write_text(KUBECONFIG)
    made = handlers.registry(Watched(["shop"]))
    logins = {
        str(handler.id): handler.fn
        for handler in made._activities.get_all_handlers()
        if handler.activity and handler.activity.value == "authentication"
    }
    assert set(logins) == {"login_with_service_account", "login_with_kubeconfig"}
    login: Any = logins["login_with_kubeconfig"]
    begun = time.monotonic()
    first, second = [await login(settings=handlers.settings()) for _ in range(2)]
    # kopf never tries the same credentials twice.
    assert first != second
    assert {(credentials.server, credentials.token) for credentials in (first, second)} == {
        ("https://k:6443", "t")
    }
    assert time.monotonic() - begun > 0.04


async def test_a_cas_key_identifiers_are_not_asked_for_and_all_else_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_context = ssl.create_default_context

    def as_newer_pythons_do(*args: Any, **kwargs: Any) -> ssl.SSLContext:
        context = make_context(*args, **kwargs)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    monkeypatch.setattr(ssl, "create_default_context", as_newer_pythons_do)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    (tmp_path / "kubeconfig").write_text(KUBECONFIG)
    login: Any = handlers._patient(kopf.login_with_kubeconfig)
    found = (await login(settings=handlers.settings())).as_ssl_context()
    async with Kube.connect() as connection:
        other = connection.api_client.rest_client.ssl_context
    for context in (found, other):
        assert not context.verify_flags & ssl.VERIFY_X509_STRICT
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.check_hostname


def test_it_is_tried_again_for_ever_and_soon() -> None:
    backoffs = handlers.settings().networking.error_backoffs
    assert not isinstance(backoffs, int | float)
    for _ in range(2):
        pauses = list(itertools.islice(backoffs, 1000))
        assert len(pauses) == 1000
        assert max(pauses) <= 5


def test_no_watch_waits_for_ever() -> None:
    made = handlers.settings()
    assert made.watching.server_timeout
    assert made.watching.client_timeout
    assert made.watching.client_timeout > made.watching.server_timeout
    # Bookmarks come once a minute.
    assert 60 < made.watching.inactivity_timeout < made.watching.server_timeout
    assert not made.posting.enabled
    assert made.scanning.disabled
