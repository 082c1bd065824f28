"""What the watches show of Kubernetes, and whether that can be relied on.

kopf keeps an index of each kind up to date by its watches. It makes up no deletions for what
vanished while a watch was away, and does not tell when an index is complete: `verify` finds out.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import structlog

from controller import kube

CATCH_UP_SECONDS = 2.0
"""A watch may be so far behind a list."""
CATCH_UP_POLL_SECONDS = 0.1
RELIABLE_SECONDS = 90.0
"""What was found complete can be relied on for so long, without another look that succeeds."""

log = structlog.get_logger(__name__)

Body = Mapping[str, Any]
Index = Mapping[Any, Iterable[Body]]


class Source(Protocol):
    """What `verify` asks: `kube.Kube`."""

    def pages(self, path: str) -> AsyncIterator[list[kube.Json]]:
        """The metadata of the objects in a collection."""
        ...


COLLECTIONS: Mapping[str, Callable[[str | None], str]] = {
    "autoscalers": kube.autoscalers,
    "deployments": kube.deployments,
    "pods": kube.pods,
    "hpas": kube.hpas,
}
"""The indices by name, and where the same objects are listed."""

_METADATA = (
    *("name", "namespace", "uid", "resourceVersion", "generation", "labels", "annotations"),
    *("ownerReferences", "creationTimestamp", "deletionTimestamp"),
)
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


class Watched:
    """The objects of the namespaces served, as far as they are known; none of them is a copy."""

    def __init__(
        self, namespaces: Sequence[str] | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Of these namespaces; None: of all, as one place."""
        self._places = tuple(map(_Place, (None,) if namespaces is None else namespaces))
        self._indices: Mapping[str, Index] = {name: {} for name in COLLECTIONS}
        self._ghosts: frozenset[str] = frozenset()
        self._clock = clock

    def attach(self, indices: Mapping[str, Index]) -> None:
        """Take the indices that kopf keeps, by the names in COLLECTIONS."""
        self._indices = {name: indices[name] for name in COLLECTIONS}

    @property
    def synced(self) -> bool:
        """Whether all namespaces can be relied on."""
        return all(map(self._reliable, self._places))

    def reliable(self, namespace: str) -> bool:
        """Whether all that there was at the last `verify` is known, in that version or a later one.

        As long as it is not, nothing may be concluded from what is missing.
        """
        return any(
            self._reliable(place) for place in self._places if place.name in (None, namespace)
        )

    def autoscalers(self) -> list[Body]:
        """All WorkerAutoscalers."""
        index = self._indices["autoscalers"]
        return [body for key in index for body in self._living(index, key)]

    def deployment(self, namespace: str, name: str) -> Body | None:
        """A Deployment, if there is one of the name."""
        found = self._living(self._indices["deployments"], (namespace, name))
        return max(found, key=version, default=None)

    def pods(self, namespace: str) -> list[Body]:
        """All pods of a namespace."""
        return self._living(self._indices["pods"], namespace)

    def hpas(self, namespace: str) -> list[Body]:
        """All HorizontalPodAutoscalers of a namespace."""
        return self._living(self._indices["hpas"], namespace)

    async def verify(self, source: Source) -> None:
        """Compare with lists made now. Where one fails, nothing changes, until RELIABLE_SECONDS.

        What was known before a list was begun and is not in it is gone for good: a uid never comes
        back. It is hidden from then on.
        """
        listed = [place for place in self._places if await self._list(place, source)]
        self._ghosts = frozenset[str]().union(*(place.ghosts for place in self._places))
        loop = asyncio.get_running_loop()
        deadline = loop.time() + CATCH_UP_SECONDS
        while self._settle(listed):
            if loop.time() >= deadline:
                break
            await asyncio.sleep(CATCH_UP_POLL_SECONDS)
        for place in listed:
            # What was deleted so soon that no watch has shown it is not waited for.
            if not place.awaited or await self._list_again(place, source):
                self._judge(place)

    async def _list(self, place: _Place, source: Source) -> bool:
        before = set(self._versions(place))
        listed = await self._listed(place, source)
        if listed is None:
            return False
        place.begun(listed, before, self._versions(place))
        return True

    async def _list_again(self, place: _Place, source: Source) -> bool:
        listed = await self._listed(place, source)
        if listed is None:
            return False
        place.awaited = {uid: at for uid, at in place.awaited.items() if uid in listed}
        return True

    async def _listed(self, place: _Place, source: Source) -> dict[str, int] | None:
        """The versions at a place by uid; None: a list failed."""
        try:
            listed = {
                metadata["uid"]: _number(metadata)
                for path in COLLECTIONS.values()
                async for page in source.pages(path(place.name))
                for metadata in page
            }
        except kube.KubeError as error:
            if place.problem != str(error):
                log.warning("watch.unverified", namespace=place.name or "all", error=str(error))
            place.problem = str(error)
            return None
        place.problem = None
        return listed

    def _settle(self, places: Sequence[_Place]) -> bool:
        """Whether a watch is still behind at one of these places."""
        for place in places:
            if place.awaited:
                place.settle(self._versions(place))
        return any(place.awaited for place in places)

    def _judge(self, place: _Place) -> None:
        before, behind = self._reliable(place), len(place.awaited)
        place.complete_at = None if behind else self._clock()
        if before == bool(behind):
            level = logging.WARNING if behind else logging.INFO
            names = {"namespace": place.name or "all"}
            log.log(level, "watch.synced", **names, synced=not behind, behind=behind)

    def _reliable(self, place: _Place) -> bool:
        at = place.complete_at
        return at is not None and self._clock() - at < RELIABLE_SECONDS

    def _versions(self, place: _Place) -> dict[str, int]:
        """The versions in the indices by uid, ghosts included."""
        metadata = (body["metadata"] for body in self._all())
        return {
            pod["uid"]: _number(pod)
            for pod in metadata
            if place.name is None or pod["namespace"] == place.name
        }

    def _all(self) -> Iterator[Body]:
        for index in self._indices.values():
            for key in index:
                yield from index[key]

    def _living(self, index: Index, key: object) -> list[Body]:
        # `in` first: kopf's index has no `get`.
        found = index[key] if key in index else ()  # noqa: SIM401
        return [body for body in found if body["metadata"]["uid"] not in self._ghosts]


class _Place:
    """A namespace (None: all), and what was found when it was listed."""

    def __init__(self, name: str | None) -> None:
        self.name = name
        self.ghosts: frozenset[str] = frozenset()
        self.awaited: dict[str, int] = {}
        """What was listed and is not known in that version yet."""
        self.complete_at: float | None = None
        """When nothing was awaited last; None: something is, or it was never listed."""
        self.problem: str | None = None
        """Why it could not be listed: logged once."""
        self._seen: set[str] = set()

    def begun(self, listed: dict[str, int], before: set[str], numbers: Mapping[str, int]) -> None:
        """Take a list: versions by uid. `before`: what was known when it was begun."""
        self.ghosts = frozenset((before - listed.keys()) & numbers.keys())
        self.awaited, self._seen = listed, before
        self.settle(numbers)

    def settle(self, numbers: Mapping[str, int]) -> None:
        """Await no longer what is known, or was and has gone since: it was deleted."""
        self.awaited = {
            uid: number
            for uid, number in self.awaited.items()
            if (numbers[uid] < number if uid in numbers else uid not in self._seen)
        }
        self._seen |= numbers.keys()


def version(body: Body) -> int:
    """An object's resourceVersion: a later one of the same object is a larger number."""
    return _number(body["metadata"])


def _number(metadata: Body) -> int:
    return int(metadata["resourceVersion"])


def autoscaler(body: Body) -> Body:
    """What is kept of a WorkerAutoscaler."""
    return _kept(body, spec=None, status=None)


def deployment(body: Body) -> Body:
    """What is kept of a Deployment: its template is not."""
    return _kept(body, spec=("replicas", "selector"), status=None)


def pod(body: Body) -> Body:
    """What is kept of a pod."""
    return _kept(body, spec=(), status=("phase", "conditions", "containerStatuses"))


def hpa(body: Body) -> Body:
    """What is kept of a HorizontalPodAutoscaler."""
    return _kept(body, spec=("scaleTargetRef",), status=())


def _kept(body: Body, **parts: Sequence[str] | None) -> Body:
    """The metadata and these fields of these parts (None: all), so that memory stays small."""
    metadata = _only(body["metadata"], _METADATA)
    annotations = metadata.get("annotations")
    if annotations and _LAST_APPLIED in annotations:
        rest = {key: value for key, value in annotations.items() if key != _LAST_APPLIED}
        metadata["annotations"] = rest
    kept = {name: _only(body.get(name) or {}, fields) for name, fields in parts.items()}
    return {"metadata": metadata, **kept}


def _only(part: Body, fields: Sequence[str] | None) -> dict[str, Any]:
    return {key: value for key, value in part.items() if fields is None or key in fields}
