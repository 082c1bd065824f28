"""What is known by watching: ghosts are hidden, gaps are found, and little is kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

import pytest
import structlog

from controller import kube, watched
from controller.kube import Json, KubeError
from controller.watched import Watched
from tests.unit.controller.fakes import Clock

Objects = dict[str, dict[Any, list[Json]]]


def thing(name: str, uid: str, version: int = 1, *, namespace: str = "shop", **fields: Any) -> Json:
    metadata = {"namespace": namespace, "name": name, "uid": uid, "resourceVersion": str(version)}
    return {"metadata": metadata, **fields}


def indices(**objects: Iterable[Json]) -> Objects:
    """Indices as kopf keeps them: pods and the like by namespace, Deployments by name too."""
    found: Objects = {name: {} for name in watched.COLLECTIONS}
    for kind, bodies in objects.items():
        for body in bodies:
            metadata = body["metadata"]
            namespace, name = metadata["namespace"], metadata["name"]
            key = (namespace, name) if kind == "deployments" else namespace
            found[kind].setdefault(key, []).append(body)
    return found


class Lists:
    """Lists of these objects, by path."""

    def __init__(self, objects: Mapping[str, list[Json]], during: Any = None) -> None:
        self.objects = objects
        self.asked: list[str] = []
        self.refused: set[str] = set()
        self._during = during

    async def pages(self, path: str) -> AsyncIterator[list[Json]]:
        self.asked.append(path)
        if path in self.refused:
            raise KubeError(403, f"{path}: forbidden")
        for body in self.objects.get(path, []):
            yield [body["metadata"]]
        if self._during is not None:
            self._during()


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched, "CATCH_UP_SECONDS", 0.2)
    monkeypatch.setattr(watched, "CATCH_UP_POLL_SECONDS", 0.01)


PODS, DEPLOYMENTS = kube.pods("shop"), kube.deployments("shop")


async def test_what_a_watch_has_missed_the_end_of_is_hidden_for_good() -> None:
    target = Watched(["shop"])
    index = indices(pods=[thing("a", "1"), thing("b", "2")])
    target.attach(index)
    await target.verify(Lists({PODS: [thing("b", "2")]}))
    assert [pod["metadata"]["name"] for pod in target.pods("shop")] == ["b"]
    assert target.synced
    # A late echo of it does not bring it back, and neither does a list that fails.
    index["pods"]["shop"][0] = thing("a", "1", 7)
    await target.verify(Lists({}, during=_refuse))
    assert [pod["metadata"]["name"] for pod in target.pods("shop")] == ["b"]


async def test_one_made_anew_under_the_name_is_no_ghost() -> None:
    target = Watched(["shop"])
    target.attach(indices(deployments=[thing("w", "old", 3), thing("w", "new", 9)]))
    await target.verify(Lists({DEPLOYMENTS: [thing("w", "new", 9)]}))
    found = target.deployment("shop", "w")
    assert found is not None
    assert found["metadata"]["uid"] == "new"


def test_of_two_under_one_name_the_younger_is_taken_before_it_is_known_which_lives() -> None:
    target = Watched(["shop"])
    target.attach(indices(deployments=[thing("w", "new", 10), thing("w", "old", 9)]))
    found = target.deployment("shop", "w")
    assert found is not None
    assert found["metadata"]["uid"] == "new"
    assert target.deployment("shop", "x") is None
    assert target.pods("nowhere") == []


async def test_what_came_while_it_was_listed_is_no_ghost() -> None:
    target = Watched(["shop"])
    index = indices()
    target.attach(index)

    def arrive() -> None:
        index["pods"]["shop"] = [thing("a", "1")]

    await target.verify(Lists({}, during=arrive))
    assert len(target.pods("shop")) == 1


async def test_it_is_not_synced_before_it_was_verified_or_while_something_is_unknown() -> None:
    target = Watched(["shop"])
    index = indices(pods=[thing("a", "1")])
    target.attach(index)
    assert not target.synced
    lists = Lists({PODS: [thing("a", "1"), thing("b", "2")]})
    await target.verify(lists)
    assert not target.synced
    index["pods"]["shop"].append(thing("b", "2"))
    await target.verify(lists)
    assert target.synced


async def test_an_older_version_than_the_list_has_means_that_a_watch_stands_still() -> None:
    target = Watched(["shop"])
    for newest, listed, synced in ((99, 99, True), (99, 100, False), (101, 100, True)):
        target.attach(indices(deployments=[thing("w", "1", newest)]))
        await target.verify(Lists({DEPLOYMENTS: [thing("w", "1", listed)]}))
        assert target.synced is synced


async def test_a_watch_may_be_a_moment_behind_the_list() -> None:
    target = Watched(["shop"])
    index = indices()
    target.attach(index)
    verifying = asyncio.create_task(target.verify(Lists({PODS: [thing("a", "1")]})))
    await asyncio.sleep(0.05)
    assert not verifying.done()
    index["pods"]["shop"] = [thing("a", "1")]
    await verifying
    assert target.synced


async def test_a_pod_that_is_deleted_while_it_is_compared_makes_nothing_incomplete() -> None:
    target = Watched(["shop"])
    index = indices(pods=[thing("a", "1"), thing("b", "2")])
    target.attach(index)

    def leave() -> None:
        index["pods"]["shop"] = [thing("b", "2")]

    lists = Lists({PODS: [thing("a", "1"), thing("b", "2")]}, during=leave)
    await target.verify(lists)
    assert target.synced
    assert len(lists.asked) == len(watched.COLLECTIONS)


async def test_a_pod_that_leaves_while_its_newest_version_is_awaited_is_awaited_no_longer() -> None:
    target = Watched(["shop"])
    index = indices()
    target.attach(index)
    lists = Lists({PODS: [thing("a", "1", 7)]})
    verifying = asyncio.create_task(target.verify(lists))
    await asyncio.sleep(0.05)
    index["pods"]["shop"] = [thing("a", "1", 6)]
    await asyncio.sleep(0.05)
    assert not verifying.done()
    index["pods"]["shop"] = []
    await verifying
    assert target.synced
    assert len(lists.asked) == len(watched.COLLECTIONS)


async def test_what_came_and_went_before_a_watch_has_shown_it_makes_nothing_incomplete() -> None:
    target = Watched(["shop"])
    target.attach(indices())
    lists = Lists({PODS: [thing("a", "1")]})
    verifying = asyncio.create_task(target.verify(lists))
    await asyncio.sleep(0.05)
    lists.objects = {PODS: [thing("b", "2")]}
    await verifying
    assert target.synced


async def test_a_namespace_that_cannot_be_listed_does_not_hinder_the_others() -> None:
    target = Watched(["shop", "mail"])
    index = indices(
        pods=[thing("a", "1"), thing("b", "2")], hpas=[thing("c", "3", namespace="mail")]
    )
    target.attach(index)
    lists = Lists({PODS: [thing("a", "1")]})
    lists.refused.add(kube.pods("mail"))
    with structlog.testing.capture_logs() as lines:
        for _ in range(3):
            await target.verify(lists)
    assert target.reliable("shop")
    assert not target.reliable("mail")
    assert not target.reliable("elsewhere")
    assert not target.synced
    assert [pod["metadata"]["name"] for pod in target.pods("shop")] == ["a"]
    assert len(target.hpas("mail")) == 1
    namespaces = [line["namespace"] for line in lines if line["event"] == "watch.unverified"]
    assert namespaces == ["mail"]
    lists.refused.clear()
    lists.objects = {**lists.objects, kube.hpas("mail"): [thing("c", "3", namespace="mail")]}
    await target.verify(lists)
    assert target.synced


async def test_what_was_complete_can_be_relied_on_for_a_while_without_another_look() -> None:
    clock = Clock(1000)
    target = Watched(["shop"], clock)
    target.attach(indices())
    await target.verify(Lists({}))
    clock.now += watched.RELIABLE_SECONDS - 1
    await target.verify(Lists({}, during=_refuse))
    assert target.reliable("shop")
    clock.now += 1
    await target.verify(Lists({}, during=_refuse))
    assert not target.reliable("shop")
    assert not target.synced
    await target.verify(Lists({}))
    assert target.synced


async def test_served_as_one_place_all_namespaces_are_relied_on_together() -> None:
    target = Watched(None)
    target.attach(indices())
    assert not target.reliable("shop")
    await target.verify(Lists({}))
    assert target.reliable("shop")
    assert target.synced


async def test_a_list_that_fails_changes_nothing() -> None:
    target = Watched(["shop"])
    target.attach(indices(pods=[thing("a", "1")]))
    await target.verify(Lists({PODS: [thing("a", "1")]}))
    await target.verify(Lists({}, during=_refuse))
    assert target.synced
    assert len(target.pods("shop")) == 1


async def test_each_kind_is_listed_in_each_namespace_or_once_in_all() -> None:
    lists = Lists({})
    await Watched(["shop", "mail"]).verify(lists)
    assert len(lists.asked) == 2 * len(watched.COLLECTIONS)
    assert kube.hpas("mail") in lists.asked
    lists = Lists({})
    await Watched(None).verify(lists)
    assert sorted(lists.asked) == sorted(path(None) for path in watched.COLLECTIONS.values())


def test_of_an_object_only_what_is_needed_is_kept() -> None:
    body = thing(
        "w",
        "1",
        spec={"replicas": 2, "selector": {}, "template": {"spec": {}}},
        status={"replicas": 2, "phase": "Running", "podIP": "10.0.0.1"},
    )
    body["metadata"] |= {
        "managedFields": [{}],
        "labels": {"a": "b"},
        "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", "c": "d"},
    }
    deployment = watched.deployment(body)
    assert deployment["spec"] == {"replicas": 2, "selector": {}}
    assert deployment["status"] == body["status"]
    assert "managedFields" not in deployment["metadata"]
    assert deployment["metadata"]["labels"] == {"a": "b"}
    assert deployment["metadata"]["annotations"] == {"c": "d"}
    assert watched.pod(body)["status"] == {"phase": "Running"}
    assert watched.autoscaler(body)["spec"] == body["spec"]
    assert watched.autoscaler(thing("w", "1", spec={}))["status"] == {}
    assert "kubectl.kubernetes.io/last-applied-configuration" in body["metadata"]["annotations"]


def _refuse() -> None:
    raise KubeError(503, "no")
