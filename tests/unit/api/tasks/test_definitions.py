"""What the API says of a workflow whose file is broken."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.workflows import Catalog
from headrace_api.http.problems import Problem
from headrace_api.tasks.definitions import Definitions

BROKEN = """
document: {{dsl: '1.0.3', namespace: tests, name: {name}, version: '1.0.0'}}
do:
  - choose: {{switch: []}}
"""


def problem(definitions: Definitions, workflow_id: str) -> Problem:
    with pytest.raises(Problem) as caught:
        definitions.get(workflow_id)
    return caught.value


def test_a_broken_file_is_named_by_the_workflow_that_it_defines(tmp_path: Path) -> None:
    (tmp_path / "some-file.yaml").write_text(BROKEN.format(name="order-status"))
    (tmp_path / "unreadable.yaml").write_text("[")
    definitions = Definitions(Catalog.load(tmp_path))
    for workflow_id in ("order-status", "order_status"):
        found = problem(definitions, workflow_id)
        assert (found.kind.slug, found.extensions["file"]) == ("workflow-broken", "some-file.yaml")
    assert problem(definitions, "unreadable").extensions["file"] == "unreadable.yaml"
    assert problem(definitions, "some-file").kind.slug == "workflow-not-found"


def test_an_error_that_mentions_a_workflow_does_not_stand_for_it(tmp_path: Path) -> None:
    """What decides is where the error comes from, never how it is worded."""
    tasks = "set: {x: 1}, then: \"workflow 'second'\""
    text = BROKEN.format(name="first").replace("switch: []", tasks)
    (tmp_path / "first.yaml").write_text(text)
    definitions = Definitions(Catalog.load(tmp_path))
    assert "workflow 'second'" in definitions.errors[0].reason
    assert problem(definitions, "second").kind.slug == "workflow-not-found"


def test_a_folder_that_cannot_be_read_is_not_taken_for_one_without_the_workflow(
    tmp_path: Path,
) -> None:
    definitions = Definitions(Catalog.load(tmp_path / "nowhere"))
    found = problem(definitions, "any")
    assert found.kind.slug == "workflow-broken"
    assert "WORKFLOWS_DIR" in found.detail
    assert "cannot be read" in found.detail
