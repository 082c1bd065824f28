"""The cluster under test: kubectl and helm, namespaces, and how images get into its nodes.

What `KUBECONFIG` names is used; without it, the one-node cluster of the tool that CLUSTER_TOOL
names, if that is up. Images are built and loaded by that tool or into kind; any other cluster pulls
them: IMAGE_REGISTRY says from where, IMAGE_TAGS under which two tags.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).resolve().parents[2]
TOOL = Path(os.environ.get("CLUSTER_TOOL", ROOT.parent / "shared/tools/cluster/cluster"))
HOW = (
    "set KUBECONFIG, or run tests/cluster/run.sh (`make test-cluster`), which starts a cluster "
    "where it can: by the one-node tool that CLUSTER_TOOL names, or by kind and Docker"
)
COMMAND_SECONDS = 120.0
POLL_SECONDS = 0.5
SPARE_VOLUMES = 12
"""More than one run of all tests takes."""

_TAG, _OTHER_TAG = "test", "test-other"
_OFFICIAL_REDIS = {"registry": "docker.io", "repository": "library/redis", "tag": "8.2"}

Object = dict[str, Any]
T = TypeVar("T")


class Absent(Exception):
    """There is no cluster, or none that these tests can use; the message says what to do."""


def eventually(check: Callable[[], T], what: str, seconds: float = 60.0) -> T:
    """What `check` returns, once it is true.

    AssertionError with `what` and the last answer after so many seconds.
    """
    end = time.monotonic() + seconds
    while not (answer := check()):
        assert time.monotonic() < end, f"not within {seconds:.0f} s: {what} (last: {answer!r})"
        time.sleep(POLL_SECONDS)
    return answer


@dataclass(frozen=True)
class Images:
    """Headrace's images as the nodes know them."""

    registry: str
    tag: str
    redis: dict[str, str]
    """The values of `redis.image`."""

    def values(self) -> Object:
        """What the chart has to be told."""
        return {
            "image": {"registry": self.registry, "tag": self.tag},
            "redis": {"image": self.redis},
        }

    @property
    def api(self) -> str:
        """The API's image: it has Python, so helper pods run on it."""
        return f"{self.registry}/headrace-api:{self.tag}".lstrip("/")

    @property
    def redis_name(self) -> str:
        """The image of Redis."""
        name = "{registry}/{repository}:{tag}"
        return name.format(**self.redis)


class Cluster:
    """Runs kubectl and helm on one cluster."""

    def __init__(self, environment: dict[str, str], tool: bool) -> None:
        self._environment = environment
        self.tool = tool
        """Whether it is the tool's cluster."""
        self.namespaces: list[str] = []
        """Those that the tests use at the moment."""

    @classmethod
    def find(cls) -> Cluster:
        """The one that answers. Raises Absent."""
        own = _tool_environment()
        wanted = os.environ.get("KUBECONFIG") or own.get("KUBECONFIG", "")
        if not wanted or not Path(wanted.split(os.pathsep)[0]).exists():
            raise Absent(f"no Kubernetes cluster is known: {HOW}")
        tool = wanted == own.get("KUBECONFIG")
        environment = os.environ | (own if tool else {"KUBECONFIG": wanted})
        for program in ("kubectl", "helm"):
            if shutil.which(program, path=environment["PATH"]) is None:
                raise Absent(f"{program} is not on PATH: install it to test on {wanted}")
        cluster = cls(environment, tool)
        try:
            cluster.kubectl("get", "--raw", "/readyz", seconds=20)
        except (CommandFailed, subprocess.TimeoutExpired) as error:
            raise Absent(f"the cluster of {wanted} does not answer ({error}): {HOW}") from None
        return cluster

    def run(self, *command: str, text: str = "", seconds: float = COMMAND_SECONDS) -> str:
        """A program's output. Raises CommandFailed with what it said."""
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=self._environment,
            input=text,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        if done.returncode != 0:
            raise CommandFailed(" ".join(command), done.stderr.strip() or done.stdout.strip())
        return done.stdout

    def kubectl(self, *args: str, text: str = "", seconds: float = COMMAND_SECONDS) -> str:
        """`kubectl` with these arguments."""
        return self.run("kubectl", *args, text=text, seconds=seconds)

    def helm(self, *args: str, text: str = "", seconds: float = 400.0) -> str:
        """`helm` with these arguments."""
        return self.run("helm", *args, text=text, seconds=seconds)

    def start(self, *command: str, output: Any) -> subprocess.Popen[str]:
        """A program that goes on, for example a port-forward."""
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def list(self, namespace: str, kind: str, *args: str) -> list[Object]:
        """The objects of a kind, narrowed by kubectl's arguments, such as `-l name=value`."""
        answer = json.loads(self.kubectl("-n", namespace, "get", kind, "-o", "json", *args))
        return list(answer["items"])

    def get(self, namespace: str, kind: str, name: str) -> Object:
        """One object. Raises CommandFailed when it is not there."""
        found = json.loads(self.kubectl("-n", namespace, "get", kind, name, "-o", "json"))
        assert isinstance(found, dict)
        return found

    def apply(self, namespace: str, *objects: Object) -> None:
        """Create objects, or change them."""
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
        self.kubectl("-n", namespace, "apply", "-f", "-", text=text)

    def python(self, namespace: str, pod: str, program: str, *args: str) -> str:
        """What a Python program prints in a pod."""
        return self.kubectl("-n", namespace, "exec", pod, "--", "python3", "-c", program, *args)

    @contextlib.contextmanager
    def namespace(self, purpose: str, **labels: str) -> Iterator[str]:
        """A namespace that enforces the restricted Pod Security Standard; it goes afterwards."""
        name = f"headrace-{purpose}-{secrets.token_hex(3)}"
        labels = {"pod-security.kubernetes.io/enforce": "restricted", **labels}
        metadata = {"name": name, "labels": labels}
        self.apply("default", {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        self.namespaces.append(name)
        try:
            yield name
        finally:
            self.namespaces.remove(name)
            self.kubectl("delete", "namespace", name, "--wait=false")
            # A pod that is still ending would keep the namespace for half of its grace period.
            ended = ("--all", "--force", "--grace-period=0", "--wait=false")
            self.kubectl("-n", name, "delete", "pods", *ended)

    def images(self) -> Images:
        """Build them from this checkout and load them. Raises Absent."""
        if self.tool:
            self._make_volumes()
            return self._build_with_tool()
        if self._kind():
            return self._build_for_kind()
        registry, tags = os.environ.get("IMAGE_REGISTRY"), os.environ.get("IMAGE_TAGS", "")
        tag, _, other_tag = tags.partition(",")
        if not registry or not other_tag:
            raise Absent(
                "images cannot be loaded into this cluster: push them, the same ones under two "
                "tags, and set IMAGE_REGISTRY=registry.example.com/team and IMAGE_TAGS=one,two"
            )
        return Images(registry, tag, _OFFICIAL_REDIS)

    def other_tag(self, images: Images) -> str:
        """A second tag under which the nodes have the same images."""
        if images.tag != _TAG:
            return os.environ["IMAGE_TAGS"].partition(",")[2]
        for name in _names(images.registry):
            tag, other = f"{name}:{_TAG}", f"{name}:{_OTHER_TAG}"
            if self.tool:
                self.run("buildah", "tag", tag, other)
                self.use_tool("load", other)
            else:
                self.run("docker", "tag", tag, other)
                self.run("kind", "load", "docker-image", "--name", self._kind(), other)
        return _OTHER_TAG

    def build_on(self, images: Images, base: str, image: str, folder: Path) -> None:
        """Build a folder's Dockerfile, whose base is the worker's image by another name, and load
        it as an image of the same registry. Raises Absent.
        """
        worker, tag = f"{images.registry}/headrace-worker:{images.tag}", f"localhost/{image}"
        if self.tool:
            self.run("buildah", "tag", worker, base)
            self.use_tool("build", tag, str(folder))
        elif kind := self._kind():
            self.run("docker", "tag", worker, base)
            self.run("docker", "build", "--tag", tag, str(folder), seconds=900)
            self.run("kind", "load", "docker-image", "--name", kind, tag, seconds=300)
        else:
            raise Absent(
                "images cannot be loaded into this cluster: use kind, or the one-node tool"
            )

    def release_images(self, commit: str, tag: str) -> Images:
        """Headrace's images as they were at a commit of this repository, under a tag of their own.
        Raises Absent.
        """
        try:
            self.run("git", "cat-file", "-e", f"{commit}^{{commit}}")
        except CommandFailed:
            raise Absent(f"the commit {commit} is not in this clone: fetch the history") from None
        with tempfile.TemporaryDirectory() as folder:
            self.run("sh", "-c", f"git archive {commit} | tar -x -C {folder}")
            if self.tool:
                self._make_volumes()
                return self._build_with_tool(folder, tag)
            if self._kind():
                return self._build_for_kind(folder, tag)
        raise Absent("images cannot be loaded into this cluster: use kind, or the one-node tool")

    def use_tool(self, *args: str, seconds: float = 900.0) -> str:
        """The tool with these arguments: what it says, on both of its outputs."""
        assert self.tool
        return self.run("sh", "-c", 'exec "$0" "$@" 2>&1', str(TOOL), *args, seconds=seconds)

    def describe(self, namespace: str) -> str:
        """What somebody who looks for a fault would ask first."""
        questions = [
            ("get", "pods,pvc,deployments,statefulsets", "-o", "wide"),
            ("get", "events", "--sort-by=.lastTimestamp"),
            ("logs", "--all-containers", "--prefix", "--tail=15", "-l", "app.kubernetes.io/name"),
        ]
        lines = [f"namespace {namespace}"]
        for question in questions:
            try:
                lines.append(self.kubectl("-n", namespace, *question, seconds=20)[-6000:])
            except (CommandFailed, subprocess.TimeoutExpired) as error:
                lines.append(str(error))
        return "\n".join(lines)

    def _make_volumes(self) -> None:
        """Each of the tool's volumes serves once."""
        phases = [volume["status"]["phase"] for volume in self.list("default", "persistentvolumes")]
        if phases.count("Available") < SPARE_VOLUMES:
            self.use_tool("volumes")

    def _build_with_tool(self, folder: str = ".", tag: str = _TAG) -> Images:
        self.use_tool("base")
        self.use_tool("load", "localhost/redis:7")
        for name, dockerfile in _names("localhost").items():
            # By layers, so that what has not changed is not built again.
            file = str(Path(folder, dockerfile))
            self.use_tool("build", f"{name}:{tag}", folder, "-f", file, "--layers")
        redis = {"registry": "localhost", "repository": "redis", "tag": "7"}
        return Images("localhost", tag, redis)

    def _build_for_kind(self, folder: str = ".", tag: str = _TAG) -> Images:
        for name, dockerfile in _names("localhost").items():
            image, file = f"{name}:{tag}", str(Path(folder, dockerfile))
            self.run("docker", "build", "--tag", image, "--file", file, folder, seconds=900)
            self.run("kind", "load", "docker-image", "--name", self._kind(), image, seconds=300)
        return Images("localhost", tag, _OFFICIAL_REDIS)

    def _kind(self) -> str:
        """The name of the kind cluster that this is; empty: it is none."""
        context = self.kubectl("config", "current-context").strip()
        return context.removeprefix("kind-") if context.startswith("kind-") else ""


class CommandFailed(AssertionError):
    """A program ended with an error: a failure of the test, unless the test expects it."""

    def __init__(self, command: str, said: str) -> None:
        super().__init__(f"{command}\n{said}")
        self.said = said


def _names(registry: str) -> dict[str, str]:
    """Headrace's images and their Dockerfiles."""
    dockerfiles = {
        "api": "services/api/Dockerfile",
        "worker": "services/worker/Dockerfile",
        "controller": "controller/Dockerfile",
    }
    return {f"{registry}/headrace-{name}": file for name, file in dockerfiles.items()}


def _tool_environment() -> dict[str, str]:
    """KUBECONFIG and PATH as the tool gives them; nothing where there is no tool."""
    if not os.access(TOOL, os.X_OK):
        return {}
    script = 'eval "$("$0" env)"; printf "%s\\n%s" "$KUBECONFIG" "$PATH"'
    done = subprocess.run(
        ["bash", "-c", script, str(TOOL)], capture_output=True, text=True, timeout=30, check=True
    )
    kubeconfig, path = done.stdout.split("\n")
    return {"KUBECONFIG": kubeconfig, "PATH": path}
