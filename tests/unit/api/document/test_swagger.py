"""/docs works without the internet: everything that the page loads is served here."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.unit.api.harness import api_settings, check, running

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("root_path", ["", "/headrace"])
async def test_the_page_loads_nothing_from_elsewhere(tmp_path: Path, root_path: str) -> None:
    async with running(api_settings(tmp_path, root_path=root_path)) as api:
        page = await api.get("/docs")
        assert page.status_code == 200
        assert page.headers["content-type"].startswith("text/html")
        assert "//" not in re.sub(r"^\s*//.*$", "", page.text, flags=re.MULTILINE)
        loaded = re.findall(r"""(?:src|href)="([^"]+)"|url: '([^']+)'""", page.text)
        addresses = [source or other for source, other in loaded]
        assert len(addresses) == 4
        for address in addresses:
            assert address.startswith(f"{root_path}/")
            found = await api.get(address.removeprefix(root_path))
            assert found.status_code == 200, address
            assert found.content
        check(await api.get("/docs/nothing.js"), "route-not-found")
