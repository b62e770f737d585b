"""The OpenAPI document, and pages that show it and send requests: Swagger UI and Scalar.

All files of a page come from this server, so that it needs no internet access.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from string import Template
from typing import Final

from litestar import Response
from litestar.handlers import HTTPRouteHandler

from pgchroma._version import __version__
from pgchroma.server.http.handlers import AnyRequest, Respond, handler
from pgchroma.server.http.openapi import openapi
from pgchroma.wire.route import encode_json

__all__ = ("pages",)

_PACKAGE: Final = "offapi"
"""The package with the files of the pages; the server uses nothing else of it."""

_SCRIPT, _STYLE, _HTML = "text/javascript", "text/css", "text/html"

_FILES: Final = {
    "swagger-ui.css": ("swagger_style.css", _STYLE),
    "swagger-ui.js": ("swagger_bundle.js", _SCRIPT),
    "scalar.js": ("scalar.js", _SCRIPT),
}
"""Files in the package and media types, by name."""

_START: Final = """\
const page = document.getElementById("page");
if (page.dataset.kind === "swagger") {
  const ui = SwaggerUIBundle({
    url: "../openapi.json", domNode: page, deepLinking: true,
    responseInterceptor: (response) => {
      if (response.obj?.configuration_json) fillIn(ui, response.obj.id);
      return response;
    },
  });
} else {
  Scalar.createApiReference(page, {
    url: "../openapi.json", withDefaultFonts: false, telemetry: false, hideClientButton: true,
    defaultOpenAllTags: true, agent: { disabled: true }, mcp: { disabled: true },
    showDeveloperTools: "never",
  });
}

// Routes take a collection's id: fill it in, so that the user need not copy it.
function fillIn(ui, id) {
  for (const [path, item] of Object.entries(ui.specSelectors.specJson().get("paths").toObject())) {
    for (const [method, operation] of Object.entries(item.toObject())) {
      const isId = (one) => one.getIn(["schema", "format"]) === "uuid";
      const parameter = operation.get("parameters").find(isId);
      if (parameter) ui.specActions.changeParamByIdentity([path, method], parameter, id, false);
    }
  }
}
"""

_PAGE: Final = Template("""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>pgchroma</title>
<link rel="icon" href="data:,">
$style</head>
<body>
<div id="page" data-kind="$kind"></div>
<script src="assets/$script?$version"></script>
<script src="assets/start.js?$version"></script>
</body>
</html>
""")

_POLICY: Final = (
    "default-src 'none'; connect-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self' data:; base-uri 'none'; frame-ancestors 'none'"
)
"""The page's scripts may connect to this server only."""

_YEAR: Final = "public, max-age=31536000, immutable"


def pages() -> list[HTTPRouteHandler]:
    """Return the handlers of the document and its pages, which are public."""
    paths: dict[str, tuple[str, Respond]] = {
        "/": ("home", _home),
        "/openapi.json": ("openapi", _document),
        "/docs": ("docs", _swagger),
        "/docs/scalar": ("docs_scalar", _scalar),
        "/docs/assets/{name:str}": ("docs_asset", _asset),
    }
    return [
        handler("GET", path, name, answer, is_public=True) for path, (name, answer) in paths.items()
    ]


async def _home(request: AnyRequest) -> Response[str]:
    return Response("", status_code=303, headers={"location": "/docs/"})


async def _document(request: AnyRequest) -> Response[bytes]:
    return Response(_encoded(), media_type="application/json")


async def _swagger(request: AnyRequest) -> Response[str]:
    if not request.scope["raw_path"].split(b"?")[0].endswith(b"/"):
        return Response("", status_code=303, headers={"location": "/docs/"})
    style = f'<link rel="stylesheet" href="assets/swagger-ui.css?{_version()}">\n'
    return _page(kind="swagger", script="swagger-ui.js", style=style)


async def _scalar(request: AnyRequest) -> Response[str]:
    return _page(kind="scalar", script="scalar.js", style="")


async def _asset(request: AnyRequest) -> Response[bytes]:
    # A name is looked up, never opened: no path leads out of the table.
    (name,) = request.path_params.values()
    if name not in _assets():
        return Response(b"", status_code=404)
    content, media_type = _assets()[name]
    return Response(content, media_type=media_type, headers={"cache-control": _YEAR})


def _page(**parts: str) -> Response[str]:
    headers = {"content-security-policy": _POLICY, "cache-control": "no-cache"}
    html = _PAGE.substitute(parts, version=_version())
    return Response(html, media_type=_HTML, headers=headers)


@cache
def _encoded() -> bytes:
    return encode_json(openapi())


@cache
def _version() -> str:
    return f"{__version__}-{distribution(_PACKAGE).version}"


@cache
def _assets() -> Mapping[str, tuple[bytes, str]]:
    # Located without an import, because importing the package reads all its files.
    package = Path(str(distribution(_PACKAGE).locate_file(_PACKAGE)))
    found = {
        name: ((package / file).read_bytes(), media_type)
        for name, (file, media_type) in _FILES.items()
    }
    return {**found, "start.js": (_START.encode(), _SCRIPT)}
