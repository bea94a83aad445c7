"""Which tokens are valid: by whose key, how long, and until they are taken back."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from prodfix import Settings, SettingsError
from prodfix.access_tokens import SKEW, make_token, verified
from prodfix.errors import AuthenticationRequired
from tests.unit.conftest import KEY

PRIVATE = {
    "RS256": rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
}
OTHERS = {
    "RS256": rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
}


def public(algorithm: str) -> str:
    key = PRIVATE[algorithm].public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    good = {"sub": "a", "iss": "prodfix", "aud": "prodfix-admin", "iat": now, "exp": now + 600, "jti": "j1"}
    return {name: value for name, value in {**good, "roles": ["admin"], **changes}.items() if value is not ...}


@pytest.fixture
def accepts(make_settings: Callable[..., Settings]) -> Callable[..., bool]:
    """Whether a token with these claims is valid under these settings."""

    def accepted(settings: dict[str, Any] | None = None, **changes: Any) -> bool:
        try:
            verified(make_settings(**(settings or {})), jwt.encode(claims(**changes), KEY, "HS256"))
        except AuthenticationRequired:
            return False
        return True

    return accepted


def test_a_token_lives_no_longer_than_the_setting_allows(accepts: Callable[..., bool]) -> None:
    now = int(time.time())
    hour = {"jwt_max_lifetime_hours": 1}
    assert accepts(hour, exp=now + 3600)
    assert not accepts(hour, exp=now + 3602)
    assert accepts({}, exp=now + 31 * 86400)
    assert not accepts({}, exp=now + 31 * 86400 + 2)


def test_a_token_is_taken_back_by_its_identity(accepts: Callable[..., bool]) -> None:
    revoked = {"jwt_revoked": "j0, j1 j2"}
    assert not accepts(revoked)
    assert accepts(revoked, jti="j3")


def test_all_tokens_that_are_older_than_a_moment_are_taken_back(accepts: Callable[..., bool]) -> None:
    now = int(time.time())
    for moment in (str(now), datetime.fromtimestamp(now, UTC).isoformat()):
        assert not accepts({"jwt_not_before": moment}, iat=now - 1)
        assert accepts({"jwt_not_before": moment}, iat=now)


def test_an_issuers_clock_may_be_a_little_ahead_and_an_end_is_an_end(accepts: Callable[..., bool]) -> None:
    now = int(time.time())
    assert accepts(iat=now + int(SKEW) - 3, nbf=now + int(SKEW) - 3)
    assert not accepts(iat=now + 2 * int(SKEW))
    assert not accepts(nbf=now + 2 * int(SKEW))
    assert not accepts(exp=now - 1, iat=now - 60)


def test_an_issuer_without_identities_can_be_allowed(accepts: Callable[..., bool]) -> None:
    assert not accepts(jti=...)
    assert accepts({"jwt_require_jti": False}, jti=...)


@pytest.mark.parametrize("claim", ["exp", "iat", "nbf"])
@pytest.mark.parametrize("value", [True, "1", [1], {"a": 1}, 10**400, 1e308])
def test_what_is_no_time_is_none(accepts: Callable[..., bool], claim: str, value: Any) -> None:
    assert not accepts(**{claim: value})


def test_a_very_long_text_is_not_even_looked_at(make_settings: Callable[..., Settings]) -> None:
    token = jwt.encode(claims(more="x" * 20_000), KEY, "HS256")
    with pytest.raises(AuthenticationRequired):
        verified(make_settings(), token)
    assert verified(make_settings(), jwt.encode(claims(more="x" * 9_000), KEY, "HS256")).subject == "a"


@pytest.mark.parametrize(
    ("path", "given", "roles"),
    [
        ("roles", {"roles": ["admin", 7, None]}, {"admin"}),
        ("realm_access.roles", {"realm_access": {"roles": ["admin"]}}, {"admin"}),
        ("https://example.org/roles", {"https://example.org/roles": ["admin"]}, {"admin"}),
        ("realm_access.roles", {"realm_access": ["roles"]}, set()),
        ("realm_access.roles", {"realm_access.roles": ["own"], "realm_access": {"roles": ["admin"]}}, {"own"}),
        ("roles", {"roles": "admin"}, set()),
        ("roles", {"roles": {"admin": True}}, set()),
    ],
)
def test_roles_are_found_where_an_identity_provider_puts_them(
    make_settings: Callable[..., Settings], path: str, given: dict[str, Any], roles: set[str]
) -> None:
    token = jwt.encode(claims(roles=...) | given, KEY, "HS256")
    assert verified(make_settings(jwt_roles_claim=path), token).roles == roles


# -- an identity provider's keys --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", PRIVATE)
@pytest.mark.parametrize("one_line", [False, True])
def test_an_identity_provider_issues_tokens_with_its_own_key(
    make_settings: Callable[..., Settings], algorithm: str, one_line: bool
) -> None:
    key = public(algorithm).replace("\n", "\\n") if one_line else public(algorithm)
    settings = make_settings(jwt_algorithm=algorithm, jwt_public_key=key)
    found = verified(settings, jwt.encode(claims(), PRIVATE[algorithm], algorithm))
    assert (found.subject, found.roles, found.identity) == ("a", {"admin"}, "j1")
    bad = [
        jwt.encode(claims(), OTHERS[algorithm], algorithm),
        jwt.encode(claims(), KEY, "HS256"),  # with the secret that the application has as well
        jwt.encode(claims(exp=1), PRIVATE[algorithm], algorithm),
        *(jwt.encode(claims(), PRIVATE[other], other) for other in PRIVATE if other != algorithm),
        _with_public_key_as_secret(public(algorithm)),
    ]
    for token in bad:
        with pytest.raises(AuthenticationRequired):
            verified(settings, token)


def _with_public_key_as_secret(pem: str) -> str:
    """The classic confusion: HS256, signed with the public key that everybody has."""
    import hashlib
    import hmac

    def part(value: Any) -> bytes:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")

    signed = part({"alg": "HS256", "typ": "JWT"}) + b"." + part(claims())
    mac = hmac.new(pem.strip().encode(), signed, hashlib.sha256).digest()
    return (signed + b"." + base64.urlsafe_b64encode(mac).rstrip(b"=")).decode()


def test_with_somebody_elses_key_no_token_can_be_made_here(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings(jwt_algorithm="RS256", jwt_public_key=public("RS256"))
    with pytest.raises(ValueError, match="private key"):
        make_token(settings, role="admin", lifetime=timedelta(hours=1))


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({"JWT_ALGORITHM": "RS256"}, "is required with JWT_ALGORITHM=RS256"),
        ({"JWT_ALGORITHM": "RS256", "JWT_PUBLIC_KEY": "canary"}, "is no public key for RS256"),
        ({"JWT_ALGORITHM": "RS256", "JWT_PUBLIC_KEY": "ES256"}, "is no public key for RS256"),
        ({"JWT_ALGORITHM": "ES256", "JWT_PUBLIC_KEY": "RS256"}, "is no public key for ES256"),
        ({"JWT_ALGORITHM": "RS256", "JWT_PUBLIC_KEY": "private"}, "belongs to the issuer alone"),
        ({"JWT_ALGORITHM": "none"}, "JWT_ALGORITHM"),
        ({"JWT_NOT_BEFORE": "canary"}, "must be a moment such as"),
        ({"JWT_MAX_LIFETIME_HOURS": "0"}, "JWT_MAX_LIFETIME_HOURS"),
    ],
)
def test_a_key_that_is_none_stops_the_start_and_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], problem: str
) -> None:
    key = PRIVATE["RS256"].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    given = {"private": key} | {algorithm: public(algorithm) for algorithm in PRIVATE}
    monkeypatch.setenv("JWT_SECRET_KEY", KEY)
    for name, value in variables.items():
        monkeypatch.setenv(name, given.get(value, value) if name == "JWT_PUBLIC_KEY" else value)
    with pytest.raises(SettingsError) as told:
        Settings.from_env(served=True)
    assert problem in str(told.value)
    assert "canary" not in str(told.value)
    assert "PRIVATE KEY" not in str(told.value)


def test_with_an_identity_providers_key_production_needs_no_secret_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APP_ENV", "production")
    monkeypatch.setenv("JWT_ALGORITHM", "ES256")
    monkeypatch.setenv("JWT_PUBLIC_KEY", public("ES256"))
    assert Settings.from_env(served=True).jwt_secret_key is None
