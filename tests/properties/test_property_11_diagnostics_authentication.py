from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import jwt
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.routing import Rule

from prodfix import make_token
from prodfix.blueprints.diagnostics.guard import COOKIE
from tests.properties.site import KEY, Site
from tests.properties.strategies import headers, names
from tests.properties.test_property_13_response_format import assert_standard

PREFIX = "/api/v1/diagnostics"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")
BELOW = ("", "/", "/nothing", "/database/more", "/%2e%2e/diagnostics/errors", "/errors/")


def endpoints(site: Site) -> list[tuple[str, str]]:
    """Every method and path below the prefix that the URL map serves, whatever they will be."""
    adapter = site.app.url_map.bind("localhost")
    rules = [rule for rule in site.app.url_map.iter_rules() if rule.rule.startswith(PREFIX)]
    assert len(rules) >= 5
    return [
        (method, adapter.build(rule.endpoint, {name: value_of(rule, name) for name in rule.arguments}))
        for rule in rules
        for method in sorted(rule.methods or ())
    ]


def value_of(rule: Rule, name: str) -> str:
    """One that the rule takes: some take one of a few words."""
    return str(min(getattr(rule._converters[name], "items", ["some-id-1"])))


def doors(site: Site) -> list[tuple[str, str]]:
    """Every method on those paths, and on some beside them."""
    paths = {path for _, path in endpoints(site)} | {PREFIX + more for more in BELOW}
    return [(method, path) for path in sorted(paths) for method in METHODS]


def _encoded(part: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def good_claims(site: Site) -> dict[str, Any]:
    token = make_token(site.services.settings, role="admin", lifetime=timedelta(minutes=5))
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


# What is wrong with a token that is right in all else.
WRONG_CLAIMS: dict[str, tuple[Any, ...]] = {
    "exp": (None, 1, "tomorrow", -1),
    "nbf": (2**33, "soon"),
    "iat": (2**33,),
    "iss": (None, "", "somebody", ["prodfix"]),
    "aud": (None, "", "prodfix", ["others"]),
    "sub": (None, "", 7, {"a": 1}),
    "jti": (None, ""),
    "type": ("refresh",),
    "roles": (
        None,
        [],
        "admin",
        ["nonadmin"],
        ["administrator", "Admin", " admin"],
        {"admin": True},
        [["admin"]],
        1,
        True,
    ),
}


def authorization(claims: dict[str, Any], claim: str, value: Any) -> dict[str, str]:
    """The header of a token with one claim replaced, or left out for ``None``."""
    changed = {name: item for name, item in (claims | {claim: value}).items() if item is not None}
    # Not jwt.encode, which refuses to make some of these.
    return {"Authorization": "Bearer " + jwt.PyJWS().encode(json.dumps(changed).encode(), KEY, "HS256")}


@st.composite
def bad_authorizations(draw: st.DrawFn) -> Callable[[Site], dict[str, str]]:
    """Headers without a valid token of an admin, made for a site."""
    kind = draw(st.sampled_from(["none", "text", "claim", "claim", "claim", "key", "unsigned", "tampered", "place"]))
    word = draw(headers)
    claim = draw(st.sampled_from(sorted(WRONG_CLAIMS)))
    value = draw(st.sampled_from(WRONG_CLAIMS[claim]))
    key = draw(st.text(st.characters(codec="utf-8"), min_size=32, max_size=64).filter(KEY.__ne__))
    scheme = draw(st.sampled_from(["", "Bearer ", "bearer", "Basic ", "Bearer  ", "Bearer Bearer ", "JWT "]))
    algorithm = draw(st.sampled_from(["none", "None", "HS512"]))
    as_cookie = draw(st.booleans())

    def make(site: Site) -> dict[str, str]:
        sent = header(site)
        token = sent.get("Authorization", "").removeprefix("Bearer ")
        if as_cookie and kind not in ("text", "place"):  # the page takes one, if it is good
            return {"Cookie": f"{COOKIE}={token}"}
        return sent

    def header(site: Site) -> dict[str, str]:
        claims = good_claims(site)
        good = jwt.encode(claims, KEY, "HS256")
        head, _, signature = good.split(".")
        if kind == "text":
            return {"Authorization": scheme + word}
        if kind == "claim":
            return authorization(claims, claim, value)
        if kind == "key":
            return {"Authorization": "Bearer " + jwt.encode(claims, key, "HS256")}
        if kind == "unsigned":
            return {"Authorization": f"Bearer {_encoded({'alg': algorithm, 'typ': 'JWT'})}.{_encoded(claims)}."}
        if kind == "tampered":
            return {"Authorization": f"Bearer {head}.{_encoded(claims | {'sub': 'x'})}.{signature}"}
        if kind == "place":
            return {"Cookie": f"access_token_cookie={good}", "X-Access-Token": good, "Authorization": f"Token {good}"}
        return {}

    return make


def assert_closed(site: Site, method: str, path: str, sent: dict[str, str]) -> None:
    answer = site.ask(path, method, headers=sent, query_string={"jwt": jwt.encode(good_claims(site), KEY, "HS256")})
    assert answer.status_code in (401, 403), (method, path, answer.status)
    if method != "HEAD":
        assert assert_standard(answer)["details"] == []


@given(bad=bad_authorizations(), method=st.sampled_from(METHODS), below=st.sampled_from(BELOW) | names.map("/".__add__))
def test_nobody_else_comes_in(site: Site, bad: Callable[[Site], dict[str, str]], method: str, below: str) -> None:
    """For any diagnostic endpoint request without valid authentication, the system should return a 401 or 403 status code.

    "Endpoint" is every path below the prefix with every method, whether there is such an endpoint or not: a stranger
    does not learn which there are. The answer holds the standard error and nothing else.

    Feature: production-deployment-fix, Property 11
    """
    sent = bad(site)
    for asked in [*endpoints(site), (method, PREFIX + below)]:
        assert_closed(site, *asked, sent)


def test_no_claim_may_be_wrong(site: Site) -> None:
    """Each claim, missing or wrong in each way, with all others right.

    Feature: production-deployment-fix, Property 11
    """
    for claim, value in ((claim, value) for claim, values in WRONG_CLAIMS.items() for value in values):
        for method, path in endpoints(site):
            assert_closed(site, method, path, authorization(good_claims(site), claim, value))


def test_no_method_opens_a_door(site: Site) -> None:
    """Each method on each path, without a token.

    Feature: production-deployment-fix, Property 11
    """
    for method, path in doors(site):
        assert_closed(site, method, path, {})


def test_an_admin_comes_in(site: Site) -> None:
    """The control: the same doors, with the token that all the bad ones were made from, are not closed.

    Feature: production-deployment-fix, Property 11
    """
    token = jwt.encode(good_claims(site), KEY, "HS256")
    opened = set()
    for method, path in doors(site):
        answer = site.ask(path, method, headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code not in (401, 403), (method, path)
        opened |= {path} if answer.status_code == 200 else set()
    assert {PREFIX, f"{PREFIX}/database", f"{PREFIX}/errors"} <= opened
