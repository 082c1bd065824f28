"""/docs: Swagger UI, served from files of an installed package: it works without the internet.

FastAPI's own page loads them from a content delivery network.
"""

from __future__ import annotations

from functools import partial
from importlib.resources import files
from typing import TYPE_CHECKING

from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import FileResponse, Response
from starlette.routing import Route

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.requests import Request

FILES = ("swagger-ui-bundle.js", "swagger-ui.css", "favicon.png")
CACHED = {"Cache-Control": "max-age=3600"}


def install(app: FastAPI) -> None:
    """Add the page and its files."""
    folder = files("fastapi_offline") / "static"
    app.router.routes.append(Route("/docs", _page))
    for name in FILES:
        app.router.routes.append(Route(f"/docs/{name}", partial(_file, str(folder / name))))


async def _page(request: Request) -> Response:
    root = request.scope.get("root_path", "")
    script, style, icon = (f"{root}/docs/{name}" for name in FILES)
    return get_swagger_ui_html(
        openapi_url=f"{root}/openapi.json",
        title="Headrace",
        swagger_js_url=script,
        swagger_css_url=style,
        swagger_favicon_url=icon,
    )


async def _file(path: str, request: Request) -> Response:
    return FileResponse(path, headers=CACHED)
