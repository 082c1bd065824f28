"""Checks that the API server serves the WorkerAutoscaler, with all fields that the operator needs.

Helm installs a CRD with a new release and never upgrades it.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import fields
from typing import Protocol

import structlog
from pydantic.alias_generators import to_camel

from controller.kube import GROUP, PLURAL, VERSION, Json, KubeError
from controller.model import Spec

INSTALL = (
    "kubectl apply --server-side --force-conflicts --field-manager=helm -f charts/headrace/crds/"
)
POLL_SECONDS = 2.0
REMIND_SECONDS = 60.0

SPEC_FIELDS = frozenset({"targetRef", "api", *(to_camel(field.name) for field in fields(Spec))})
STATUS_FIELDS = frozenset(
    {
        *("observedGeneration", "replicas", "desiredReplicas", "drainingReplicas", "demand"),
        *("lastReading", "lastDecision", "lastScaleTime", "conditions", "operator", "standby"),
    }
)
_API = f"/apis/{GROUP}/{VERSION}"
_SCHEMA = f"/openapi/v3{_API}"

log = structlog.get_logger(__name__)


class Source(Protocol):
    """What is asked here: `kube.Kube`."""

    async def get(self, path: str) -> Json:
        """Read an object."""
        ...


async def wait_until_served(source: Source) -> None:
    """Return when the resource is served. Says what it waits for, again each minute."""
    said_at = -REMIND_SECONDS
    while (problem := await _unserved(source)) is not None:
        if time.monotonic() - said_at >= REMIND_SECONDS:
            said_at = time.monotonic()
            log.warning("crd.waiting", problem=problem)
        await asyncio.sleep(POLL_SECONDS)


async def warn_if_older(source: Source) -> None:
    """Say in one line when the served schema lacks fields: what stands there is dropped."""
    try:
        lacking = missing(await source.get(_SCHEMA))
    except KubeError as error:
        log.warning("crd.unknown_schema", error=str(error))
        return
    if lacking:
        log.warning(
            "crd.older",
            lacking=lacking,
            hint=f"the WorkerAutoscaler served is older than this operator: {INSTALL}",
        )


def missing(schema: Json) -> list[str]:
    """Which of the fields known here an OpenAPI document of the group lacks."""
    kinds = schema.get("components", {}).get("schemas", {}).values()
    kind = f"{GROUP}/{VERSION}/WorkerAutoscaler"
    served: Json = next((served_kind for served_kind in kinds if kind in _kinds(served_kind)), {})
    found = []
    for part, expected in (("spec", SPEC_FIELDS), ("status", STATUS_FIELDS)):
        properties = served.get("properties", {}).get(part, {}).get("properties", {})
        found += [f"{part}.{name}" for name in sorted(expected - set(properties))]
    return found


def _kinds(schema: Json) -> list[str]:
    kinds = schema.get("x-kubernetes-group-version-kind", [])
    return ["/".join((kind["group"], kind["version"], kind["kind"])) for kind in kinds]


async def _unserved(source: Source) -> str | None:
    try:
        served = await source.get(_API)
    except KubeError as error:
        if error.status != 404:
            return str(error)
        served = {"resources": []}
    if any(resource["name"] == PLURAL for resource in served["resources"]):
        return None
    return f"the cluster does not know WorkerAutoscalers: {INSTALL}"
