"""Reads a WorkerAutoscaler's body: which Deployment it scales, by which API, and how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from controller.model import Spec

Body = Mapping[str, Any]
"""An object as Kubernetes tells it."""

PAUSED_ANNOTATION = "headrace.dev/paused"


class InvalidSpec(Exception):
    """The spec cannot be used; the message says which field and why."""


@dataclass(frozen=True, order=True)
class Identity:
    """Which resource it is. Ordered by age: of two with one target the first acts."""

    created: str
    """`metadata.creationTimestamp`: as RFC 3339 in UTC, its order is that of time."""
    namespace: str
    name: str
    uid: str
    """Another one under the same name is another resource."""

    @classmethod
    def of(cls, body: Body) -> Identity:
        """From a body that the API server has stored: these fields are always there."""
        metadata = body["metadata"]
        return cls(
            created=metadata["creationTimestamp"],
            namespace=metadata["namespace"],
            name=metadata["name"],
            uid=metadata["uid"],
        )


@dataclass(frozen=True, kw_only=True)
class Autoscaler:
    """A WorkerAutoscaler that can be acted on."""

    identity: Identity
    target: str
    """The Deployment's name."""
    url: str
    """The API's base URL, without a slash at its end."""
    secret: str | None
    """Name of the Secret with the API key."""
    spec: Spec


def parse(body: Body) -> Autoscaler:
    """The resource. Raises InvalidSpec.

    The served schema checks the same; an older one, or none of its rules, may be served.
    """
    try:
        fields = _Fields.model_validate(body.get("spec") or {})
        spec = Spec(
            queues=tuple(fields.queues),
            **fields.model_dump(exclude={"queues", "target_ref", "api"}),
        )
    except ValidationError as error:
        raise InvalidSpec(f"spec.{described(error)}") from None
    except ValueError as error:
        raise InvalidSpec(f"spec: {error}") from None
    return Autoscaler(
        identity=Identity.of(body),
        target=fields.target_ref.name,
        url=fields.api.url.rstrip("/"),
        secret=fields.api.secret_name,
        spec=spec,
    )


def described(error: ValidationError) -> str:
    """The first thing that pydantic found wrong: "queues.tasks.running: Field required"."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"


def paused(body: Body) -> bool:
    """Whether the annotation stands that stops the operator from writing anything."""
    annotations = body["metadata"].get("annotations") or {}
    return str(annotations.get(PAUSED_ANNOTATION, "")).lower() == "true"


def age(body: Body, now: float) -> float:
    """How many seconds ago it was made, by the API server's clock and the operator's."""
    return now - datetime.fromisoformat(body["metadata"]["creationTimestamp"]).timestamp()


def deleted(body: Body) -> bool:
    """Whether it only waits for finalizers of others, and is no more to be acted for."""
    return "deletionTimestamp" in body["metadata"]


def conflict(
    autoscaler: Autoscaler, all_of_them: Sequence[Autoscaler], hpas: Sequence[Body]
) -> str | None:
    """Who else scales the target: "HorizontalPodAutoscaler/name", "WorkerAutoscaler/name", or None.

    Args:
        autoscaler: the one that asks.
        all_of_them: the WorkerAutoscalers of any namespace, itself among them.
        hpas: the HorizontalPodAutoscalers of its namespace.
    """
    for hpa in hpas:
        target = hpa["spec"]["scaleTargetRef"]
        group = target.get("apiVersion", "apps/v1").rpartition("/")[0]
        if (group, target["kind"], target["name"]) == ("apps", "Deployment", autoscaler.target):
            return f"HorizontalPodAutoscaler/{hpa['metadata']['name']}"
    own = autoscaler.identity
    rivals = [
        other.identity
        for other in all_of_them
        if (other.identity.namespace, other.target) == (own.namespace, autoscaler.target)
    ]
    first = min(rivals, default=own)
    return None if first >= own else f"WorkerAutoscaler/{first.name}"


class _Part(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="ignore", strict=True, frozen=True)


class _Target(_Part):
    name: Annotated[str, Field(min_length=1)]


class _Api(_Part):
    url: Annotated[str, Field(pattern=r"^https?://[^/?#@]+(/[^?#@]*)?$")]
    secret_name: Annotated[str, Field(min_length=1)] | None = None


class _Fields(_Part):
    """The spec's fields. What an older schema does not know has the default of `Spec`."""

    target_ref: _Target
    api: _Api
    min_replicas: int = Spec.min_replicas
    max_replicas: Annotated[int, Field(ge=1)] = Spec.max_replicas
    queues: list[str] = []
    concurrency: int = Spec.concurrency
    drain_seconds: int = int(Spec.drain_seconds)
    tasks_per_replica: int | None = None
    stabilization_seconds: Annotated[int, Field(ge=0)] = int(Spec.stabilization_seconds)
    cooldown_seconds: Annotated[int, Field(ge=0)] = int(Spec.cooldown_seconds)
    fallback_replicas: Annotated[int, Field(ge=0)] | None = None
    dry_run: bool = Spec.dry_run
