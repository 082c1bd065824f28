"""A worker image with task types of one's own, as docs/images.md says."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from ruamel.yaml import YAML

from tests.cluster.cluster import ROOT, Absent, Cluster, Images
from tests.cluster.release import Release, merged, small
from tests.servers import absent

PACKAGE = ROOT / "examples" / "package"
INVOICE = {
    "number": "2026-17",
    "lines": [{"text": "tea", "quantity": 3, "price": "4.50"}],
}


def documented(language: str) -> str:
    """The only block of a language in the section about own images."""
    text = (ROOT / "docs" / "images.md").read_text()
    section = text[text.index("## A worker image with your own task types") :]
    [block] = re.findall(rf"^```{language}\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    return str(block)


def test_a_task_runs_on_a_worker_image_made_by_the_documented_dockerfile(
    cluster: Cluster, images: Images, tmp_path: Path
) -> None:
    folder = tmp_path / "package"
    shutil.copytree(PACKAGE, folder)
    dockerfile = documented("dockerfile")
    (folder / "Dockerfile").write_text(dockerfile)
    base = dockerfile.partition("\n")[0].removeprefix("FROM ")
    values = YAML(typ="safe").load(documented("yaml"))
    image = values["workers"]["invoices"]["image"]
    try:
        cluster.build_on(images, base, f"{image['repository']}:{image['tag']}", folder)
    except Absent as error:
        absent(str(error))

    with cluster.namespace("own-image") as namespace:
        release = Release(cluster, namespace)
        pool = {"autoscaling": {"minReplicas": 1}}
        release.install(merged(small(images), values, {"workers": {"invoices": pool}}))
        with release.api() as api:
            task = api.ended(api.submit("invoice_total", INVOICE))
            assert task["status"] == "completed", task
            assert task["result"] == {"number": "2026-17", "total": "13.50"}
            assert api.answer("hello", {"name": "both"}) == {"greeting": "Hello, both!"}
