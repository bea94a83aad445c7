"""Environment variables that are not what somebody thinks: misspelt, unknown, or left from another day."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping

from prodfix.doctor.findings import Finding, error, note, warning
from prodfix.doctor.registry import check
from prodfix.doctor.subject import Subject
from prodfix.settings import Environment, Settings
from prodfix.settings_sources import PLATFORM, PREFIX, SERVED_ONLY

# How people call them who come from elsewhere.
_ALIASES = {
    "NODE_ENV": "APP_ENV",
    "FLASK_ENV": "APP_ENV",
    "MONGO_URI": "MONGODB_URI",
    "MONGO_URL": "MONGODB_URI",
    "MONGODB_URL": "MONGODB_URI",
    "JWT_SECRET": "JWT_SECRET_KEY",
    "SECRET_KEY_JWT": "JWT_SECRET_KEY",
}
_SWITCHES = ("enable_error_handler", "enable_error_recovery", "enable_query_logging", "enable_diagnostics")
# Names that many services have, for what is theirs.
_COMMON = frozenset(
    "log_level log_dir log_rotation public_url web_concurrency app_env app_release jwt_algorithm jwt_secret_key "
    "jwt_public_key jwt_issuer jwt_audience".split()
)
_ALIKE = 0.88


@check("variable-names", "settings")
def misspelt(subject: Subject) -> Iterator[Finding]:
    """Every variable that looks like a setting is one."""
    if not subject.served:
        yield from _of_host(subject)
        return
    known = {name.upper() for name in Settings.model_fields}
    meant = {name: _meant(name.removeprefix(PREFIX), known) for name in subject.environ if _bare(name) not in known}
    found = {name: setting for name, setting in meant.items() if setting is not None}
    # Where the setting has its value all the same, the other variable belongs to somebody else.
    there = {*map(_bare, subject.environ), *(("MONGODB_URI",) if subject.services.database.clients.configured else ())}
    yield from _unread({name: setting for name, setting in found.items() if setting not in there})


def _of_host(subject: Subject) -> Iterator[Finding]:
    """Of the host's own names none is ours; of those that begin with ours each is."""
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    given = {name for name in (*subject.environ, *subject.app.config) if name.startswith(PREFIX)}
    yield from _unread({name: _meant(name, known) or "no setting" for name in given - known})
    fields = set(Settings.model_fields) - PLATFORM - SERVED_ONLY - _COMMON
    bare = sorted(name for name in subject.environ if name.lower() in fields and PREFIX + name not in given)
    if "MONGODB_URI" in bare and not subject.services.database.clients.configured:
        yield warning(
            "`MONGODB_URI` is set in the environment, which is the host's own name: prodfix knows no database",
            'ProdFix(uri=os.environ["MONGODB_URI"]), PRODFIX_MONGODB_URI, or app.config["MONGO_URI"]',
        )
    elif bare:
        yield note(
            f"variables are set that are settings of the served application, and none in a host: `{'`, `'.join(bare[:10])}`",
            f"Put {PREFIX} before the names of those that are meant for prodfix",
            variables=bare[:10],
        )


def _bare(name: str) -> str:
    return name.removeprefix(PREFIX)


def _unread(wrong: Mapping[str, str]) -> Iterator[Finding]:
    if wrong:
        pairs = ", ".join(f"{name} ({setting}?)" for name, setting in sorted(wrong.items())[:10])
        yield warning(
            f"variables that nothing reads, and that look like settings, are set: {pairs}",
            "Rename them if they are meant for prodfix",
            variables=sorted(wrong)[:10],
        )


def _meant(name: str, known: set[str]) -> str | None:
    if name in _ALIASES:
        return _ALIASES[name]
    if "_" not in name or len(name) > 64:
        return None
    close = difflib.get_close_matches(name, sorted(known), n=1, cutoff=_ALIKE)
    return close[0] if close else None


@check("environment-name", "settings")
def environment_name(subject: Subject) -> Iterator[Finding]:
    """APP_ENV is what it says."""
    given = str(subject.given("app_env") or "").strip().lower()
    if given and given not in set(Environment):
        yield warning(
            "APP_ENV has a value that is not known, and is taken for production",
            f"Set it to {', '.join(Environment)}",
        )


@check("rollback-switches", "settings")
def switches(subject: Subject) -> Iterator[Finding]:
    """No switch of the rollback plan is off."""
    off = [name.upper() for name in _SWITCHES if not getattr(subject.settings, name)]
    if off and subject.deployed:
        yield note(
            f"{', '.join(off)}: off, as the rollback plan has it",
            "Switch them on again when the reason is gone",
            off=off,
        )


@check("log-level", "settings")
def verbosity(subject: Subject) -> Iterator[Finding]:
    """The log level fits the environment.

    That of a deployed service does not drown in commands.
    """
    if subject.deployed and subject.settings.log_level == "debug":
        yield warning(
            "LOG_LEVEL is debug: every start and end of every command is logged",
            "Set LOG_LEVEL to info; QUERY_LOG_SAMPLE shows a share of the commands",
        )


@check("diagnostics-open", "settings")
def diagnostics_open(subject: Subject) -> Iterator[Finding]:
    """The diagnostics ask for an admin."""
    settings = subject.settings
    if settings.diagnostics_auth_required or not settings.enable_diagnostics:
        return
    level = error if subject.deployed else note
    yield level(
        "DIAGNOSTICS_AUTH_REQUIRED is false: whoever reaches the service reads its diagnostics",
        "Set it to true",
    )
