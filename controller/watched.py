"""What is known of Kubernetes by watching it, and whether that can be relied on.

kopf keeps an index of each kind up to date by its watches. It makes up no deletions for what
vanished while a watch was away, and does not tell when an index is complete: `verify` finds out.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import structlog

from . import kube

CATCH_UP_SECONDS = 2.0
"""A watch may be so far behind a list."""
CATCH_UP_POLL_SECONDS = 0.1

log = structlog.get_logger(__name__)

Body = Mapping[str, Any]
Index = Mapping[Any, Iterable[Body]]


class Source(Protocol):
    """What `verify` asks: `kube.Kube`."""

    async def metadata(self, path: str) -> list[kube.Json]:
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

    def __init__(self, namespaces: Sequence[str] | None) -> None:
        """Of these namespaces; None: of all."""
        self.synced = False
        """Whether everything that there was at the last `verify` is known, in that version or a
        later one. Before, nothing may be concluded from what is missing."""
        self._places: Sequence[str | None] = (None,) if namespaces is None else namespaces
        self._indices: Mapping[str, Index] = {name: {} for name in COLLECTIONS}
        self._ghosts: frozenset[str] = frozenset()

    def attach(self, indices: Mapping[str, Index]) -> None:
        """Take the indices that kopf keeps, by the names in COLLECTIONS."""
        self._indices = {name: indices[name] for name in COLLECTIONS}

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
        """Compare with lists made now, and set `synced`. A list that fails changes nothing.

        What was known before a list was begun and is not in it is gone for good: a uid never comes
        back. It is hidden from then on.
        """
        before = set(self._known())
        listed: dict[str, int] = {}
        try:
            for path in (path(place) for path in COLLECTIONS.values() for place in self._places):
                listed |= {one["uid"]: _number(one) for one in await source.metadata(path)}
        except kube.KubeError as error:
            log.warning("watch.unverified", error=str(error))
            return
        self._ghosts = frozenset((before - set(listed)) & set(self._known()))
        behind = await self._behind(listed)
        if self.synced == bool(behind):
            level = logging.WARNING if behind else logging.INFO
            log.log(level, "watch.synced", synced=not behind, objects=len(listed), behind=behind)
        self.synced = not behind

    async def _behind(self, listed: Mapping[str, int]) -> int:
        """How many of the objects listed are unknown or older, when the watches had their time."""
        deadline = asyncio.get_running_loop().time() + CATCH_UP_SECONDS
        while True:
            known = self._known()
            behind = sum(1 for uid, number in listed.items() if known.get(uid, -1) < number)
            if not behind or asyncio.get_running_loop().time() >= deadline:
                return behind
            await asyncio.sleep(CATCH_UP_POLL_SECONDS)

    def _known(self) -> dict[str, int]:
        """The versions in the indices by uid, ghosts included."""
        return {body["metadata"]["uid"]: version(body) for body in self._all()}

    def _all(self) -> Iterator[Body]:
        for index in self._indices.values():
            for key in index:
                yield from index[key]

    def _living(self, index: Index, key: object) -> list[Body]:
        # `in` first: kopf's index has no `get`.
        found = index[key] if key in index else ()  # noqa: SIM401
        return [body for body in found if body["metadata"]["uid"] not in self._ghosts]


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
    return _kept(body, spec=("replicas", "selector", "paused"), status=None)


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
