"""What there is, for who opens the address of the application in a browser: outside production only."""

from __future__ import annotations

import base64
import hashlib

from flask import Blueprint, Response, current_app, jsonify, request
from markupsafe import Markup
from werkzeug.routing import Rule

from prodfix import Services, Settings, links_of, uncounted

blueprint = Blueprint("welcome", __name__)
blueprint.before_request(uncounted)

STYLE = Markup(""":root{color-scheme:light dark}
body{font:1rem/1.6 system-ui,sans-serif;max-width:48rem;margin:0 auto;padding:1.5rem}
code{font:.9em ui-monospace,monospace;overflow-wrap:anywhere}ul{list-style:none;padding:0}
li{padding:.4rem 0;border-top:1px solid #8884}li>code:first-child{display:inline-block;min-width:4.5em}
h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}a{color:light-dark(#0550ae,#79b8ff)}""")
_DIGEST = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
POLICY = (
    f"default-src 'none'; style-src 'sha256-{_DIGEST}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PAGE = Markup(
    '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    "<title>prodfix</title><style>{style}</style><main><h1>prodfix answers</h1>"
    "<p>This is the application as <code>make run</code> starts it. The page is not there in production.</p>"
    "{diagnostics}<h2>Routes</h2><ul>{rows}</ul></main></html>\n"
)
_DIAGNOSTICS = Markup(
    '<p><a href="{path}">Diagnostics</a>: errors, queries, incidents and deferred writes. It asks for a token; '
    "<code>make run</code> has printed one, and <code>.venv/bin/flask --app wsgi prodfix token</code> makes others.</p>"
)
_ROW = Markup("<li><code>{methods}</code> {path}<br>{text}</li>")
_LINK = Markup('<a href="{0}"><code>{0}</code></a>')
_CODE = Markup("<code>{}</code>")


def registered_when(settings: Settings) -> bool:
    return not settings.production


@blueprint.get("/")
def index() -> Response:
    """What there is: the diagnostics, and each route with its first sentence; as JSON for who asks for that."""
    services: Services = current_app.extensions["prodfix"]
    diagnostics = links_of(current_app.extensions).diagnostics
    routes = _routes(diagnostics)
    if request.accept_mimetypes.best_match(["application/json", "text/html"]) != "text/html":
        told = [{"methods": methods, "path": path, "about": text} for methods, path, text in routes]
        return jsonify({"environment": str(services.settings.app_env), "diagnostics": diagnostics, "routes": told})
    page = _PAGE.format(
        style=STYLE,
        diagnostics=_DIAGNOSTICS.format(path=diagnostics) if diagnostics else "",
        rows=Markup().join(_row(*route) for route in routes),
    )
    response = Response(page, mimetype="text/html")
    response.headers["Content-Security-Policy"] = POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def _routes(diagnostics: str | None) -> list[tuple[str, str, str]]:
    """Methods, path and first sentence of each route; of the diagnostics only where they begin, as they tell the rest."""
    rules = sorted(current_app.url_map.iter_rules(), key=lambda rule: (rule.rule, sorted(rule.methods or ())))
    return [
        (" ".join(sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})), rule.rule, _sentence(rule))
        for rule in rules
        if rule.rule != "/" and not (diagnostics and _belongs_to_the_page(rule, diagnostics))
    ]


def _belongs_to_the_page(rule: Rule, diagnostics: str) -> bool:
    """Below the diagnostics, which tell of it; or a part of their page beside them, such as the sign-in."""
    module = current_app.view_functions[rule.endpoint].__module__
    return rule.rule.startswith(f"{diagnostics}/") or (rule.rule != diagnostics and ".diagnostics." in f"{module}.")


def _sentence(rule: Rule) -> str:
    text = (current_app.view_functions[rule.endpoint].__doc__ or "").strip()
    return text.partition("\n")[0].replace("``", "")


def _row(methods: str, path: str, text: str) -> Markup:
    linked = methods == "GET" and "<" not in path
    return _ROW.format(methods=methods, path=(_LINK if linked else _CODE).format(path), text=text)
