"""GET /api/workflows/{workflow_id}: the definition, its versions, what is wrong with others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.unit.api.harness import ECHO, api_settings, check, running

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of workflows, one of them in three versions, one more of which is wrong."""
    folder = tmp_path / "workflows"
    folder.mkdir()
    for version in ("1.9.0", "1.10.0", "1.10.0-rc.1"):
        text = ECHO.replace("'1.0.0'", f"'{version}'")
        assert version in text
        (folder / f"{version}.yaml").write_text(text)
    wrong = ECHO.replace("'1.0.0'", "'2.0.0'").replace("set:", "sett:")
    (folder / "wrong.yaml").write_text(wrong)
    return tmp_path


async def test_the_latest_version_comes_with_all_of_them_and_what_is_wrong_with_others(
    folder: Path,
) -> None:
    async with running(api_settings(folder)) as api:
        detail = (await api.get("/api/workflows/my-workflow")).json()
        assert detail["version"] == "1.10.0"
        assert "'1.10.0'" in detail["definition"]
        assert detail["versions"] == ["1.10.0", "1.10.0-rc.1", "1.9.0", "1.0.0"]
        [wrong, *_] = detail["errors"]
        assert wrong["file"] == "wrong.yaml"
        assert "Did you mean 'set'?" in wrong["reason"]


async def test_an_older_version_is_shown_when_it_is_asked_for(folder: Path) -> None:
    async with running(api_settings(folder)) as api:
        detail = (await api.get("/api/workflows/my_workflow?version=1.9.0")).json()
        assert detail["version"] == "1.9.0"
        assert "'1.9.0'" in detail["definition"]


async def test_what_there_is_not_is_a_404_that_names_what_there_is(folder: Path) -> None:
    async with running(api_settings(folder)) as api:
        unknown = await api.get("/api/workflows/my-workflow?version=1.9")
        check(unknown, "workflow-not-found")
        assert unknown.json()["detail"] == (
            "the workflow 'my-workflow' has no version '1.9': it has 1.10.0, 1.10.0-rc.1, 1.9.0, "
            "1.0.0. Did you mean '1.9.0'?"
        )
        near = await api.get("/api/workflows/my-workfow")
        check(near, "workflow-not-found")
        assert near.json()["detail"].endswith("Did you mean 'my-workflow'?")
