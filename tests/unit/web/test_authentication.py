"""Tokens: whatever is wrong with one is a 401, a right one without the role a 403, and neither says why."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from flask import Flask
from flask_jwt_extended import JWTManager, create_access_token, create_refresh_token, jwt_required

from prodfix import ErrorRecord, create_app, make_token, require_role
from prodfix.signals import error_recorded
from prodfix.web import authentication
from tests.unit.conftest import KEY

OTHER = "another-key-of-at-least-thirty-two-bytes"
NOW = datetime.now(UTC)
HOUR = timedelta(hours=1)


def claims(**changes: Any) -> dict[str, Any]:
    good = {
        "sub": "admin",
        "iss": "prodfix",
        "aud": "prodfix-admin",
        "iat": NOW,
        "nbf": NOW - HOUR,
        "exp": NOW + HOUR,
        "jti": "1",
        "type": "access",
        "fresh": False,
        "roles": ["admin"],
    }
    return {name: value for name, value in (good | changes).items() if value is not ...}


def signed(key: str = KEY, algorithm: str = "HS256", headers: dict[str, Any] | None = None, **changes: Any) -> str:
    return jwt.encode(claims(**changes), key, algorithm, headers=headers)


def part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def unsigned(**header: Any) -> str:
    return f"{part({'alg': 'none', 'typ': 'JWT'} | header)}.{part(json.loads(json.dumps(claims(), default=str)))}."


GOOD = signed()
HEAD, BODY, SIGNATURE = GOOD.split(".")

BAD: dict[str, str | None] = {
    "commas for a token": ", ,",
    "no time of issue": f"Bearer {signed(iat=None)}",
    "valid for ever": f"Bearer {signed(exp=1e30)}",
    "valid for years": f"Bearer {signed(exp=NOW + 400 * 24 * HOUR)}",
    "no header": None,
    "empty": "",
    "no token": "Bearer",
    "a space for a token": "Bearer ",
    "another scheme": f"Basic {GOOD}",
    "no scheme": GOOD,
    "lower case scheme and nothing": "bearer",
    "two tokens": f"Bearer {GOOD} {GOOD}",
    "garbage": "Bearer garbage",
    "three garbage parts": "Bearer a.b.c",
    "dots": "Bearer ...",
    "not base64": "Bearer $$$.$$$.$$$",
    "null": "Bearer null",
    "latin letters": "Bearer \u00e9\u00e9.\u00e9.\u00e9",
    "very long": "Bearer " + "A" * 6000,
    "no signature": f"Bearer {HEAD}.{BODY}.",
    "cut signature": f"Bearer {HEAD}.{BODY}.{SIGNATURE[:-4]}",
    "changed body": f"Bearer {HEAD}.{part({'sub': 'root', 'roles': ['admin']})}.{SIGNATURE}",
    "changed head": f"Bearer {part({'alg': 'HS512', 'typ': 'JWT'})}.{BODY}.{SIGNATURE}",
    "algorithm none": f"Bearer {unsigned()}",
    "algorithm None": f"Bearer {unsigned(alg='None')}",
    "no algorithm": f"Bearer {unsigned(alg=None)}",
    "algorithm list": f"Bearer {unsigned(alg=['HS256'])}",
    "critical extension": f"Bearer {signed(headers={'crit': ['x'], 'x': 1})}",
    "another key": f"Bearer {signed(OTHER)}",
    "empty key": f"Bearer {HEAD}.{BODY}.{part('')}",
    "another algorithm": f"Bearer {signed(KEY * 2, algorithm='HS512')}",
    "expired": f"Bearer {signed(exp=NOW - HOUR)}",
    "not valid yet": f"Bearer {signed(nbf=NOW + HOUR)}",
    "issued in the future": f"Bearer {signed(iat=NOW + HOUR)}",
    "no expiry": f"Bearer {signed(exp=...)}",
    "expiry is a word": f"Bearer {signed(exp='tomorrow')}",
    "expiry is a list": f"Bearer {signed(exp=[1])}",
    "no subject": f"Bearer {signed(sub=...)}",
    "empty subject": f"Bearer {signed(sub='')}",
    "number as subject": f"Bearer {signed(sub=7)}",
    "no identity": f"Bearer {signed(jti=...)}",
    "number as identity": f"Bearer {signed(jti=7)}",
    "another issuer": f"Bearer {signed(iss='somebody')}",
    "no issuer": f"Bearer {signed(iss=...)}",
    "another audience": f"Bearer {signed(aud='somebody')}",
    "no audience": f"Bearer {signed(aud=...)}",
    "audience is a number": f"Bearer {signed(aud=7)}",
    "refresh": f"Bearer {signed(type='refresh')}",
    "claims are a list": f"Bearer {HEAD}.{part([1])}.{SIGNATURE}",
    "head is a list": f"Bearer {part([1])}.{BODY}.{SIGNATURE}",
}


def protected(app: Flask) -> Flask:
    @app.route("/admin", methods=["GET", "POST"])
    def admin() -> str:
        require_role("admin")
        return "come in"

    return app


@pytest.fixture
def client(adopt: Callable[..., Flask]) -> Any:
    return adopt(protected(Flask("host")), app_env="production").test_client()


def ask(client: Any, header: str | None) -> Any:
    return client.get("/admin", headers={"Authorization": header} if header is not None else {})


def test_a_good_token_opens(client: Any) -> None:
    # The control of all below: without it, a door that is always shut would pass.
    assert ask(client, f"Bearer {GOOD}").text == "come in"


@pytest.mark.parametrize("name", BAD)
def test_a_bad_token_is_a_401_that_does_not_say_why(client: Any, name: str) -> None:
    response = ask(client, BAD[name])
    assert response.status_code == 401
    body = response.get_json()
    assert (body["code"], body["message"], body["details"]) == (
        "AUTHENTICATION_REQUIRED",
        "Authentication required",
        [],
    )
    given = (BAD[name] or "").lower().startswith("bearer ") and (BAD[name] or "")[7:].strip() != ""
    challenge = 'Bearer realm="api"' + (', error="invalid_token"' if given else "")
    assert response.headers["WWW-Authenticate"] == challenge


@pytest.mark.parametrize(
    ("header", "error"),
    [
        (None, None),
        ("", None),
        ("Bearer", None),
        ("Bearer ", None),
        ("Basic dXNlcjpwYXNz", None),
        ("Digest username=x", None),
        ("Bearer x", "invalid_token"),
        ("bearer x", "invalid_token"),
        (f"Bearer {GOOD}x", "invalid_token"),
    ],
)
def test_only_who_has_sent_a_token_hears_of_it(client: Any, header: str | None, error: str | None) -> None:
    """RFC 6750 section 3.1; at least one parameter follows the scheme (section 3)."""
    challenge = ask(client, header).www_authenticate
    assert (challenge.type, challenge.get("realm"), challenge.get("error")) == ("bearer", "api", error)


def test_a_valid_token_without_the_role_has_an_insufficient_scope(client: Any) -> None:
    response = ask(client, f"Bearer {signed(roles=['user'])}")
    assert (response.status_code, response.headers["WWW-Authenticate"]) == (
        403,
        'Bearer realm="api", error="insufficient_scope"',
    )


def test_there_are_enough_bad_tokens() -> None:
    assert len(BAD) >= 30


@pytest.mark.parametrize(
    "roles",
    [..., None, [], ["user"], ["nonadmin"], ["Admin"], "admin", "nonadmin", {"admin": 1}, 7, [["admin"]]],
    ids=repr,
)
def test_without_the_role_it_is_a_403(client: Any, roles: Any) -> None:
    response = ask(client, f"Bearer {signed(roles=roles)}")
    assert (response.status_code, response.get_json()["code"]) == (403, "FORBIDDEN")


def test_the_claim_that_holds_the_roles_can_be_named(adopt: Callable[..., Flask]) -> None:
    client = adopt(protected(Flask("host")), jwt_roles_claim="groups").test_client()
    assert ask(client, f"Bearer {GOOD}").status_code == 403
    assert ask(client, f"Bearer {signed(groups=['admin'])}").status_code == 200


def test_a_made_token_is_good_for_its_role_and_its_lifetime(client: Any, make_settings: Callable[..., Any]) -> None:
    settings = make_settings()
    for role, lifetime, status in (("admin", HOUR, 200), ("user", HOUR, 403), ("admin", -HOUR, 401)):
        token = make_token(settings, role=role, lifetime=lifetime)
        assert ask(client, f"Bearer {token}").status_code == status


def test_without_a_key_no_token_can_be_made_and_none_is_valid(
    adopt: Callable[..., Flask], make_settings: Callable[..., Any]
) -> None:
    with pytest.raises(ValueError, match="JWT_SECRET_KEY"):
        make_token(make_settings(jwt_secret_key=None), role="admin", lifetime=HOUR)
    client = adopt(protected(Flask("host")), jwt_secret_key=None).test_client()
    assert ask(client, f"Bearer {GOOD}").status_code == 401


def test_who_asked_is_known_from_a_verified_token_only(adopt: Callable[..., Flask]) -> None:
    app = adopt(protected(Flask("host")))
    told: list[str | None] = []

    def hear(sender: object, record: ErrorRecord) -> None:
        told.append(record.context.notes.user_id if record.context else None)

    with error_recorded.connected_to(hear):
        ask(app.test_client(), f"Bearer {signed(roles=['user'], sub='somebody')}")
        ask(app.test_client(), f"Bearer {signed(OTHER, sub='canary')}")
    assert told == ["somebody", None]


# -- a host with a JWTManager of its own ------------------------------------------------------------------------------------


def hosts_own(adopt: Callable[..., Flask], **settings: Any) -> Flask:
    app = protected(Flask("host"))
    adopt(app, **settings)  # before the host's own manager, which must not find its settings changed
    app.config.update(JWT_SECRET_KEY=OTHER)
    JWTManager(app)

    @app.get("/tokens")
    def tokens() -> list[str]:
        admin = {"roles": ["admin"]}
        return [
            create_access_token("admin", additional_claims=admin),
            create_access_token("user"),
            create_refresh_token("admin", additional_claims=admin),
            create_access_token("admin", additional_claims=admin, expires_delta=False),
        ]

    return app


@pytest.mark.parametrize(
    ("settings", "expected"),
    [({}, [401, 401, 401, 401, 200]), ({"jwt_secret_key": None}, [200, 403, 401, 401, 401])],
    ids=["our key decides", "without one the host's does"],
)
def test_whose_tokens_count(adopt: Callable[..., Flask], settings: dict[str, Any], expected: list[int]) -> None:
    app = hosts_own(adopt, **settings)
    client = app.test_client()
    good, user, refresh, endless = client.get("/tokens").get_json()
    assert [ask(client, f"Bearer {token}").status_code for token in (good, user, refresh, endless, GOOD)] == expected
    assert (app.config["JWT_SECRET_KEY"], app.config["JWT_DECODE_AUDIENCE"]) == (OTHER, None)


@pytest.mark.parametrize("settings", [{}, {"jwt_secret_key": None}], ids=["our key", "the host's"])
@pytest.mark.parametrize("name", [name for name in BAD if name != "another key"])
def test_bad_tokens_are_a_401_in_a_host_too(adopt: Callable[..., Flask], name: str, settings: dict[str, Any]) -> None:
    assert ask(hosts_own(adopt, **settings).test_client(), BAD[name]).status_code == 401


def test_its_own_views_keep_its_own_answers(adopt: Callable[..., Flask]) -> None:
    app = hosts_own(adopt)
    app.add_url_rule("/own", view_func=jwt_required()(lambda: "own"), endpoint="own")
    response = app.test_client().get("/own")
    assert (response.status_code, response.get_json()) == (401, {"msg": "Missing Authorization Header"})


def test_a_part_that_loads_flask_jwt_extended_after_the_application_was_made_has_its_rules(
    make_settings: Callable[..., Any], own_logging: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = authentication.loaded
    monkeypatch.setattr(authentication, "loaded", lambda *asked: ())
    app = create_app(make_settings(jwt_secret_key=KEY))
    try:
        app.get("/before", endpoint="before")(lambda: {})
        assert "flask-jwt-extended" not in app.extensions, "nobody has loaded it"
        monkeypatch.setattr(authentication, "loaded", known)
        app.get("/mine", endpoint="mine")(jwt_required()(lambda: {}))
        client = app.test_client()
        assert client.get("/mine", headers={"Authorization": f"Bearer {GOOD}"}).status_code == 200
        assert client.get("/mine").status_code == 401
    finally:
        app.extensions["prodfix"].close()
