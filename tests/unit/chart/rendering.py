"""Renders the chart with helm, and finds things in what comes out."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from headrace.settings.keys import ApiKey, parse_api_keys
from tests.servers import absent

ROOT = Path(__file__).resolve().parents[3]
CHART = ROOT / "charts" / "headrace"
CI_VALUES = sorted((CHART / "ci").glob("*.yaml"))

RELEASE = "demo"
NAMESPACE = "somewhere"

Object = dict[str, Any]
Values = dict[str, Any]


def helm() -> str:
    """The program. Without it the test is skipped: see `absent`."""
    found = shutil.which(os.environ.get("HELM", "helm"))
    if found is None:
        absent("helm is not on PATH: install Helm 4 or 3.19 to test the chart's templates")
    return found


@cache
def _template(
    values: str, file: Path | None, flags: tuple[str, ...], chart: Path = CHART
) -> subprocess.CompletedProcess[str]:
    """`helm template` with values as JSON, which is YAML, and a file of values below them."""
    files = ["--values", str(file)] if file else []
    return subprocess.run(
        [helm(), "template", RELEASE, chart, "-n", NAMESPACE, *flags, *files, "--values", "-"],
        input=values,
        capture_output=True,
        text=True,
        check=False,
    )


@dataclass(frozen=True)
class Rendered:
    """The objects of one rendering."""

    objects: list[Object]

    def of(self, kind: str) -> list[Object]:
        """All objects of a kind."""
        return [resource for resource in self.objects if resource["kind"] == kind]

    def get(self, kind: str, name: str) -> Object:
        """The object of this kind and name. AssertionError when there is none."""
        for resource in self.of(kind):
            if resource["metadata"]["name"] == name:
                return resource
        names = [resource["metadata"]["name"] for resource in self.of(kind)]
        raise AssertionError(f"no {kind} {name}, only {names}")

    def pods(self) -> dict[str, Object]:
        """Every pod spec, by kind and name."""
        found = {}
        for resource in self.objects:
            key = f"{resource['kind']}/{resource['metadata']['name']}"
            if resource["kind"] in ("Deployment", "StatefulSet", "Job"):
                found[key] = resource["spec"]["template"]["spec"]
            elif resource["kind"] == "Pod":
                found[key] = resource["spec"]
        return found


@cache
def _rendered(values: str, file: Path | None, flags: tuple[str, ...], chart: Path) -> Rendered:
    done = _template(values, file, flags, chart)
    assert done.returncode == 0, done.stderr
    return Rendered([resource for resource in YAML(typ="safe").load_all(done.stdout) if resource])


def render(
    values: Values | None = None, file: Path | None = None, *flags: str, chart: Path = CHART
) -> Rendered:
    """What `helm template` makes of the values, to be read only: tests share it.

    AssertionError when helm refuses them.
    """
    return _rendered(json.dumps(values or {}), file, flags, chart)


def refusal(values: Values, *flags: str) -> str:
    """What helm says when it refuses the values. AssertionError when it takes them."""
    done = _template(json.dumps(values), None, flags)
    assert done.returncode != 0, "helm took the values"
    return done.stderr


def environment(container: Object) -> dict[str, Any]:
    """A container's variables: their value, or where it comes from."""
    return {
        variable["name"]: variable.get("value", variable.get("valueFrom"))
        for variable in container["env"]
    }


def container(rendered: Rendered, name: str, kind: str = "Deployment") -> Object:
    """The only container of a Deployment's or StatefulSet's pods."""
    [found] = rendered.get(kind, name)["spec"]["template"]["spec"]["containers"]
    assert isinstance(found, dict)
    return found


def secret(rendered: Rendered, name: str, key: str) -> str:
    """What a Secret holds."""
    return base64.b64decode(rendered.get("Secret", name)["data"][key]).decode()


def api_keys(rendered: Rendered) -> tuple[ApiKey, ...]:
    """The keys that the API takes, from the generated Secret."""
    lines = secret(rendered, f"{RELEASE}-headrace-api-keys", "keys").splitlines()
    return tuple(parse_api_keys([(line, line) for line in lines]))
