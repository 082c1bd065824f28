"""Files that cannot be tried here are held to their own schema; what they name must be there."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from packaging.requirements import Requirement
from ruamel.yaml import YAML

from headrace import __version__
from headrace.settings.keys import parse_api_keys
from headrace.workflows import parse
from tests.servers import absent
from tests.unit.chart.rendering import CHART, ROOT, container, environment, render

KINDCHECK = Path(__file__).with_name("kindcheck")
CONFORMANCE = Path(os.environ.get("CONFORMANCE_DIR", ROOT.parent / "shared" / "conformance"))
IMAGES = {
    "headrace-api": "services/api/Dockerfile",
    "headrace-worker": "services/worker/Dockerfile",
    "headrace-controller": "controller/Dockerfile",
}
DOCKERFILES = ("Dockerfile", *IMAGES.values())


def read(path: str) -> Any:
    """A YAML file of one document."""
    return YAML(typ="safe").load(ROOT / path)


def test_the_charts_documentation_is_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, "tools/chart_docs.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_chart_has_the_version_of_the_code_it_installs() -> None:
    assert read("charts/headrace/Chart.yaml")["appVersion"] == __version__


@pytest.mark.parametrize("file", DOCKERFILES)
def test_a_dockerfile_begins_with_its_pinned_base_and_asks_no_other(file: str) -> None:
    lines = [line for line in (ROOT / file).read_text().splitlines() if line[:1] not in ("#", "")]
    assert re.fullmatch(r"ARG BASE_IMAGE=python:3\.13-slim@sha256:[0-9a-f]{64}", lines[0])
    assert lines[0] == _base("Dockerfile")
    bases = [line.split()[1] for line in lines if line.startswith("FROM ")]
    assert set(bases) == {"${BASE_IMAGE}"}
    stages = {line.split()[-1] for line in lines if " AS " in line}
    assert set(re.findall(r"--from=(\S+)", "\n".join(lines))) <= stages
    [user] = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert re.fullmatch(r"[1-9][0-9]*:[1-9][0-9]*", user)


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_says_its_name_and_version(image: str) -> None:
    text = (ROOT / IMAGES[image]).read_text()
    assert f"ARG VERSION={__version__}\n" in text
    assert f'org.opencontainers.image.title="{image}"' in text


@pytest.mark.parametrize("image", IMAGES)
def test_every_image_of_the_chart_is_built_wherever_images_are_built(image: str) -> None:
    folder = IMAGES[image].removesuffix("/Dockerfile")
    built = "for folder in services/api services/worker controller; do"
    assert folder in built
    for file in ("Makefile", "k8s/kind.sh"):
        assert built in (ROOT / file).read_text()
    artifacts = {
        artifact["image"]: artifact["docker"]["dockerfile"]
        for artifact in read("skaffold.yaml")["build"]["artifacts"]
    }
    assert artifacts == IMAGES
    variable = image.replace("-", "_")
    templates = read("skaffold.yaml")["deploy"]["helm"]["releases"][0]["setValueTemplates"]
    assert f"{{{{.IMAGE_REPO_{variable}}}}}" in templates.values()
    assert f"{{{{.IMAGE_TAG_{variable}}}}}" in templates.values()
    assert f"`{image}`" in (ROOT / "docs" / "images.md").read_text()


@pytest.mark.parametrize("service", ["api", "worker"])
def test_an_image_has_the_pins_of_the_project_and_only_what_its_process_needs(service: str) -> None:
    project = _pins("requirements.txt")
    image = _pins(f"services/{service}/requirements.txt")
    init = image.pop("dumb-init")
    assert init
    assert image == {name: project[name] for name in image}
    assert ("fastapi" in image) == (service == "api")


def test_the_operators_image_has_the_pins_it_is_tested_with_and_not_the_librarys() -> None:
    tested = _pins("requirements-dev.txt")
    image = _pins("controller/requirements.txt")
    assert image.pop("dumb-init") == _pins("services/worker/requirements.txt")["dumb-init"]
    assert image == {name: tested[name] for name in image}
    assert "kopf" in image
    assert not {"redis", "fastapi", "celpy"} & image.keys()


@pytest.mark.parametrize(
    "file",
    [
        "services/requirements-build.txt",
        *(f"services/{s}/requirements.txt" for s in ("api", "worker")),
        "controller/requirements.txt",
    ],
)
def test_every_pin_of_an_image_has_hashes(file: str) -> None:
    for block in (ROOT / file).read_text().replace("\\\n", " ").splitlines():
        assert block.startswith("#") or "--hash=sha256:" in block, block


def test_compose_publishes_ports_to_this_machine_alone() -> None:
    services = read("docker-compose.yml")["services"]
    assert set(services) == {"api", "worker", "redis"}
    for service in services.values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    assert services["worker"]["deploy"]["replicas"] == 5
    assert "ALLOW_ANONYMOUS=true" in services["api"]["environment"]
    for name in ("api", "worker"):
        assert "REDIS_URL=redis://redis:6379/0" in services[name]["environment"]


@pytest.mark.timeout(300)  # its modules may have to be fetched first
def test_kind_knows_every_name_in_its_file() -> None:
    if shutil.which("go") is None:
        absent("go is not on PATH: kind's own types cannot be asked")
    done = subprocess.run(
        ["go", "run", "."],
        cwd=KINDCHECK,
        input=(ROOT / "k8s" / "kind.yaml").read_text(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "kind.x-k8s.io/v1alpha4 Cluster headrace",
        "control-plane 127.0.0.1:8080 -> 80 TCP",
        "control-plane 127.0.0.1:8443 -> 443 TCP",
    ]


def test_skaffold_knows_every_name_in_its_file() -> None:
    schema = CONFORMANCE / "skaffold" / "v4beta14.json"
    if not schema.exists():
        absent(f"{schema} is not there: skaffold.yaml cannot be held to its schema")
    jsonschema_rs.validate(json.loads(schema.read_text()), read("skaffold.yaml"))


def test_skaffold_names_files_that_are_there() -> None:
    skaffold = read("skaffold.yaml")
    for artifact in skaffold["build"]["artifacts"]:
        assert (ROOT / artifact["docker"]["dockerfile"]).is_file()
        for rule in artifact["sync"]["manual"]:
            assert list(ROOT.glob(rule["src"])), rule
    for deploy in [skaffold["deploy"], *(profile["deploy"] for profile in skaffold["profiles"])]:
        for release in deploy["helm"]["releases"]:
            assert (ROOT / release["chartPath"]).is_dir()
            for file in [*release["valuesFiles"], *release.get("setFiles", {}).values()]:
                assert (ROOT / file).is_file()


@pytest.mark.parametrize("name", ["kind", "dev", "production"])
def test_the_values_for_a_place_are_values_of_the_chart(name: str) -> None:
    assert render(file=ROOT / "k8s" / f"{name}-values.yaml").of("Deployment")


def test_the_inner_loop_runs_what_skaffold_passes_to_it() -> None:
    files = read("skaffold.yaml")["deploy"]["helm"]["releases"][0]["setFiles"]
    assert set(files.values()) == {"k8s/reload.py"}
    text = (ROOT / "k8s" / "reload.py").read_text()
    compile(text, "reload.py", "exec")
    rendered = render(file=ROOT / "k8s" / "dev-values.yaml")
    started = {
        "api": ["run.py"],
        "worker-default": ["run_worker.py"],
        "controller": ["-m", "controller"],
    }
    assert {key.partition(".")[0] for key in files} == {"api", "workerDefaults", "controller"}
    for name, arguments in started.items():
        rendered_container = container(rendered, f"demo-headrace-{name}")
        assert rendered_container["command"] == ["python", "-c"]
        # skaffold sets the first one.
        assert rendered_container["args"] == ["", *arguments]
        assert (ROOT / arguments[-1]).exists()
    assert environment(container(rendered, "demo-headrace-api"))["ALLOW_ANONYMOUS"] == "true"


def test_the_sample_secrets_are_what_the_production_values_name() -> None:
    secrets = {
        secret["metadata"]["name"]: secret["stringData"]
        for secret in YAML(typ="safe").load_all(ROOT / "k8s" / "samples" / "secrets.yaml")
    }
    values = read("k8s/production-values.yaml")
    sample = secrets[values["auth"]["existingSecret"]]
    lines = sample["keys"].splitlines()
    admin, operator = parse_api_keys([("keys", line) for line in lines])
    assert admin.digest == hashlib.sha256(sample["admin"].encode()).digest()
    own = secrets[values["controller"]["existingSecret"]]["key"]
    assert (operator.role, operator.digest) == ("operator", hashlib.sha256(own.encode()).digest())
    assert "password" in secrets[values["redis"]["auth"]["existingSecret"]]


def test_the_sample_workflows_are_workflows() -> None:
    sample = read("k8s/samples/workflows.yaml")
    assert sample["metadata"]["name"] == "workflows"
    for file, text in sample["data"].items():
        assert parse(text.encode(), file).id == "greet"


def test_every_template_makes_one_kind_of_object() -> None:
    for file in CHART.rglob("templates/**/*.yaml"):
        kinds = re.findall(r"^kind: (\w+)", file.read_text(), re.MULTILINE)
        assert len(kinds) == (0 if file.name == "validate.yaml" else 1), file


def _base(file: str) -> str:
    """The line of a Dockerfile that says what it is built on."""
    return next(line for line in (ROOT / file).read_text().splitlines() if line[:4] == "ARG ")


def _pins(file: str) -> dict[str, str]:
    """The version of each package in a file of pins."""
    lines = re.findall(r"^[a-zA-Z0-9].*==.*?(?= \\$)", (ROOT / file).read_text(), re.MULTILINE)
    return {(found := Requirement(line)).name: str(found.specifier) for line in lines}
