"""The namespace of every release here enforces the restricted Pod Security Standard."""

from __future__ import annotations

import pytest

from tests.cluster.cluster import CommandFailed, Images
from tests.cluster.driving import pod
from tests.cluster.release import Release


def test_all_pods_of_a_release_are_restricted(shared: Release) -> None:
    labels = shared.cluster.get("default", "namespace", shared.namespace)["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    assert {running["status"]["phase"] for running in shared.pods()} == {"Running"}
    for running in shared.pods():
        for container in running["spec"]["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
        # The operator alone asks Kubernetes.
        component = running["metadata"]["labels"]["app.kubernetes.io/component"]
        assert running["spec"]["automountServiceAccountToken"] is (component == "controller")


def test_a_pod_that_is_not_restricted_is_refused_there(shared: Release, images: Images) -> None:
    spec = {"containers": [{"name": "root", "image": images.api}]}
    with pytest.raises(CommandFailed, match='violates PodSecurity "restricted'):
        shared.cluster.apply(shared.namespace, pod("root", spec))


@pytest.mark.parametrize("component", ["api", "worker", "controller"])
def test_a_process_is_not_root_and_its_files_cannot_be_changed(
    shared: Release, component: str
) -> None:
    program = (
        "import os\n"
        "print(os.getuid())\n"
        "for place in ('/app', '/opt/headrace', '/etc/headrace/workflows', '/home', '/tmp'):\n"
        "    try:\n"
        "        open(os.path.join(place, 'file'), 'w').close()\n"
        "        print(place)\n"
        "    except OSError:\n"
        "        pass\n"
    )
    said = shared.cluster.python(shared.namespace, shared.pod(component), program)
    assert said.split() == ["10001", "/tmp"]
