"""The users of the chart's own Redis: who is logged in, and how a release takes them up later."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.cluster.cluster import Cluster, Images, Object, eventually
from tests.cluster.release import NAME, Release, fixed, merged, small, uids

OWN = {"headrace-api", "headrace-worker"}


def logged_in(release: Release) -> set[str]:
    """The users of Headrace's connections to Redis."""
    clients = release.kubectl("exec", f"{NAME}-redis-0", "--", "redis-cli", "client", "list")
    return set(re.findall(r"name=headrace\S* .*user=(\S+)", clients))


@pytest.fixture
def without(cluster: Cluster, images: Images) -> Iterator[tuple[Release, Object]]:
    """A release whose Redis has none of them, as one from 0.2.0, and its values."""
    with cluster.namespace("users") as namespace:
        release = Release(cluster, namespace)
        values = merged(small(images), fixed(1))
        release.install(merged(values, {"redis": {"auth": {"users": False}}}))
        yield release, values


def test_api_and_workers_of_a_new_release_are_users_of_their_own(shared: Release) -> None:
    assert logged_in(shared) == OWN


def test_a_release_without_them_keeps_that_until_it_is_told(
    without: tuple[Release, Object],
) -> None:
    release, values = without
    redis = uids(release.pods("redis"))
    release.upgrade(values)
    assert uids(release.pods("redis")) == redis
    assert logged_in(release) == {"default"}

    release.upgrade(merged(values, {"redis": {"auth": {"users": True}}}))
    eventually(lambda: logged_in(release) == OWN, "all are users of their own", 120)
    with release.api() as api:
        assert api.answer("hello", {"name": "user"}) == {"greeting": "Hello, user!"}

    redis = uids(release.pods("redis"))
    release.upgrade(values)
    assert uids(release.pods("redis")) == redis
    assert logged_in(release) == OWN
