"""What each code of an error means, for who finds one in an answer: a problem's ``type`` leads to its page.

It is for anybody: the texts are the table's, and nothing of an error, a request or the service stands in them.
"""

from __future__ import annotations

import base64
import hashlib
import re

from flask import Blueprint, Response, current_app, jsonify, request
from flask.blueprints import BlueprintSetupState
from markupsafe import Markup, escape

from prodfix import NotFound, ProblemCode, Services, links_of, problem_code, problem_codes, problem_slug, uncounted

blueprint = Blueprint("prodfix_problems", __name__, url_prefix="/problems")
blueprint.before_request(uncounted)

STYLE = Markup(""":root{color-scheme:light dark}
body{font:1rem/1.6 system-ui,sans-serif;max-width:42rem;margin:0 auto;padding:1.5rem}
code{font:.95em ui-monospace,monospace;overflow-wrap:anywhere}
h1{font-size:1.35rem;overflow-wrap:anywhere}h2{font-size:1.1rem;margin:1.5rem 0 0}
h2 code{font-size:1em}p,dd{margin:.25rem 0}dt{font-weight:600;margin-top:.75rem}dd{margin-left:0}""")
_DIGEST = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
POLICY = (
    f"default-src 'none'; style-src 'sha256-{_DIGEST}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PAGE = Markup(
    '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    "<title>{title}</title><style>{style}</style><main><h1>{title}</h1>{body}</main></html>\n"
)
_SECTION = Markup(
    "<dl><dt>What it means</dt><dd>{meaning}</dd><dt>What the client does</dt><dd>{client}</dd>"
    "<dt>What the operator does</dt><dd>{operator}</dd></dl>"
)


@blueprint.record
def tell_address(state: BlueprintSetupState) -> None:
    """So that the ``type`` of each answer leads here, wherever this is registered."""
    prefix = (state.url_prefix or "").rstrip("/")

    def path(code: str) -> str | None:
        services: Services = state.app.extensions["prodfix"]
        return f"{prefix}/{problem_slug(code)}" if problem_code(services.classifier, code) is not None else None

    if "<" not in prefix:  # of a prefix with a variable nobody can tell the address
        links_of(state.app.extensions).problems_are_at(path)


@blueprint.get("")
def index() -> Response:
    """All codes, each with what the client and the operator do; as JSON for who asks for that."""
    codes = dict(sorted(problem_codes(_services().classifier).items()))
    if not _for_eyes():
        return jsonify({"problems": [_to_json(code, problem) for code, problem in codes.items()]})
    sections = (
        Markup('<section id="{}"><h2><code>{}</code> {}</h2>{}</section>').format(
            problem_slug(code), code, _statuses(problem), _section(problem)
        )
        for code, problem in codes.items()
    )
    return _page("Codes of errors", Markup().join(sections))


@blueprint.get("/<slug>")
def show(slug: str) -> Response:
    """One code."""
    code = slug.upper().replace("-", "_")
    problem = problem_code(_services().classifier, code) if re.fullmatch("[a-z][a-z0-9-]{0,59}", slug) else None
    if problem is None:
        raise NotFound("no such code")
    if not _for_eyes():
        return jsonify(_to_json(code, problem))
    return _page(f"{code} ({_statuses(problem)})", _section(problem))


def _services() -> Services:
    services: Services = current_app.extensions["prodfix"]
    return services


def _for_eyes() -> bool:
    return request.accept_mimetypes.best_match(["application/json", "text/html"]) == "text/html"


def _to_json(code: str, problem: ProblemCode) -> dict[str, object]:
    return {
        "code": code,
        "statuses": list(problem.statuses),
        "meaning": problem.meaning,
        "client": problem.client,
        "operator": problem.operator,
    }


def _statuses(problem: ProblemCode) -> str:
    return ", ".join(str(status) for status in problem.statuses)


def _section(problem: ProblemCode) -> Markup:
    return _SECTION.format(
        meaning=_marked(problem.meaning), client=_marked(problem.client), operator=_marked(problem.operator)
    )


def _marked(text: str) -> Markup:
    """``text`` with what stands between backticks as code."""
    parts = (
        escape(part) if number % 2 == 0 else Markup("<code>{}</code>").format(part)
        for number, part in enumerate(text.split("`"))
    )
    return Markup().join(parts)


def _page(title: str, body: Markup) -> Response:
    response = Response(_PAGE.format(title=title, style=STYLE, body=body), mimetype="text/html")
    response.headers["Content-Security-Policy"] = POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Cache-Control"] = "public, max-age=3600"
    response.headers["Vary"] = "Accept"
    return response
