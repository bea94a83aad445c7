"""The settings of the application: one frozen record, read once, from where :mod:`prodfix.settings_sources` says.

Names and defaults are those of the seed's configuration section; what prodfix adds stands behind them. A variable
``DB_POOL_SIZE``, or ``PRODFIX_DB_POOL_SIZE``, is the field ``db_pool_size``. Anything that is wrong is reported at once, by
name, without its value.
"""

import importlib.util
import os
import socket
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from prodfix import settings_sources
from prodfix.alert_settings import (
    DIRECT,
    AlertKind,
    AlertRoute,
    QuietHours,
    alert_route,
    alert_rules,
    checked_quiet_hours,
    checked_rules,
    quiet_hours,
)
from prodfix.checked_record import (
    AfterValidator,
    BeforeValidator,
    CheckedRecord,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
)
from prodfix.development_key import SHORTEST_JWT_KEY, DevelopmentKeyError, shared_key
from prodfix.settings_sources import Given
from prodfix.settings_values import (
    alert_urls,
    bearer_token,
    byte_size,
    check_public_key,
    check_uri,
    hook_secret,
    level,
    lowered,
    moment,
    names,
    pem,
    rate,
    signals,
    switch,
    trace_template,
    web_address,
    words,
)


class SettingsError(Exception):
    """One or more settings are wrong. The text lists every one of them and shows no value."""

    def __init__(self, problems: dict[str, str]) -> None:
        self.problems = problems
        lines = [f"  {name}: {problem}" for name, problem in problems.items()]
        super().__init__("\n".join(["The settings are not usable:", *lines]))


Answers = Literal["all", "unhandled", "api", "none"]


class Environment(StrEnum):
    """Where the application runs (the seed's ``NODE_ENV``)."""

    DEVELOPMENT = "development"
    STAGING = "staging"
    PRODUCTION = "production"


class OperationQueue(StrEnum):
    """Whether writes may wait on disk: never, on a durable disk only, or on any disk (``ephemeral``)."""

    OFF = "false"
    ON = "true"
    EPHEMERAL = "ephemeral"


def _environment(value: Any) -> Any:
    # An unknown environment must never be the one that shows details: whatever is not known is production.
    text = str(value).strip().lower()
    return text if text in set(Environment) else Environment.PRODUCTION


Milliseconds = Annotated[int, Field(ge=1, le=3_600_000)]
WebAddress = Annotated[str, BeforeValidator(web_address), Field(max_length=500)]
ByteSize = Annotated[int, BeforeValidator(byte_size), Field(ge=1024)]


class Settings(CheckedRecord):
    """All settings: :meth:`from_env` of the served application, :meth:`of_host` of one that takes prodfix in, or by keyword,
    which reads nothing."""

    # Database
    mongodb_uri: SecretStr | None = None
    diagnostics_uri: SecretStr | None = None
    db_pool_size: Annotated[int, Field(ge=1, le=1000)] = 10
    db_min_pool_size: Annotated[int, Field(ge=0, le=1000)] = 2
    db_connect_timeout_ms: Milliseconds = 30_000
    db_socket_timeout_ms: Milliseconds = 45_000
    db_server_selection_timeout_ms: Milliseconds = 30_000
    db_wait_queue_timeout_ms: Milliseconds = 2_000
    db_heartbeat_ms: Annotated[int, Field(ge=500, le=600_000)] = 10_000

    # Logging
    log_level: Annotated[Literal["debug", "info", "warn", "error"], BeforeValidator(level)] = "info"
    log_dir: Path = Path("var/log")
    log_file_max_size: ByteSize = 10 * 1024 * 1024
    log_file_max_files: Annotated[int, Field(ge=1, le=1000)] = 7
    log_disk_reserve: Annotated[int, BeforeValidator(byte_size), Field(ge=0)] = 16 * 1024 * 1024
    log_rotation: Literal["daily", "size"] = "daily"
    log_schema: Annotated[Literal["prodfix", "ecs", "otel"], BeforeValidator(lowered)] = "prodfix"
    opentelemetry: Annotated[frozenset[str], BeforeValidator(signals)] = frozenset({"traces"})
    enable_query_logging: bool = True
    slow_query_threshold_ms: Annotated[int, Field(ge=0, le=3_600_000)] = 1_000
    query_log_sample: Annotated[float, Field(ge=0, le=1)] = 0.0
    query_log_values: Annotated[frozenset[str], BeforeValidator(names)] = frozenset()
    query_repeat_threshold: Annotated[int, Field(ge=2, le=10_000)] = 10
    enable_query_advice: bool = True

    # Error handling and recovery
    enable_error_handler: bool = True
    answers: Annotated[Answers | None, BeforeValidator(lowered)] = None
    """Which errors that the application leaves open are answered by us; recorded they are in any case. ``all``: each, whoever
    asks. ``api``: each, but for browsers, which have Flask's own pages. ``unhandled``: of those only what would be Flask's 500,
    so that a 404 and what ``abort`` says stay Flask's. ``none``: no one. Default: ``all`` for the served application, ``api``
    in a host."""
    api_paths: Annotated[str, Field(max_length=1000)] = "/api"
    """Divided by commas or white space: below them no answer is for a browser, whatever it accepts."""
    max_retry_attempts: Annotated[int, Field(ge=0, le=20)] = 3
    max_conflict_retries: Annotated[int, Field(ge=0, le=1000)] = 50
    retry_base_delay_ms: Milliseconds = 1_000
    mobile_extra_retries: Annotated[int, Field(ge=0, le=20)] = 1
    retry_budget: Annotated[float, Field(ge=0, le=1)] = 0.2
    breaker_failures: Annotated[int, Field(ge=0, le=10_000)] = 10
    enable_error_recovery: bool = True
    enable_operation_queue: Annotated[OperationQueue, BeforeValidator(switch)] = OperationQueue.ON
    deferred_max_entries: Annotated[int, Field(ge=1, le=10_000_000)] = 100_000
    deferred_max_bytes: ByteSize = 128 * 1024 * 1024
    deferred_max_attempts: Annotated[int, Field(ge=1, le=1000)] = 10
    deferred_max_age_hours: Annotated[float, Field(gt=0, le=8760)] = 72.0
    deferred_drain_rate: Annotated[int, Field(ge=1, le=100_000)] = 500
    error_burst: Annotated[int, Field(ge=1, le=1_000_000)] = 200
    error_rate: Annotated[float, Field(gt=0, le=1_000_000)] = 5.0
    error_retention_days: Annotated[int, Field(ge=1, le=365)] = 8
    error_keep_per_kind: Annotated[int, Field(ge=4, le=100_000)] = 200
    error_max_mb: Annotated[int, Field(ge=1, le=1_000_000)] | None = None

    # Diagnostics and health
    enable_diagnostics: bool = True
    diagnostics_auth_required: bool = True
    diagnostics_rate_limit: Annotated[str, AfterValidator(rate)] = "300/minute"
    diagnostics_test_rate_limit: Annotated[str, AfterValidator(rate)] = "10/minute"
    diagnostics_source_lines: bool = True
    rate_limit_storage_uri: SecretStr | None = None
    metrics_token: Annotated[SecretStr | None, AfterValidator(bearer_token)] = None
    metrics_port: Annotated[int, Field(ge=1, le=65_535)] | None = None
    metrics_host: Annotated[str, Field(min_length=1, max_length=253)] = "127.0.0.1"
    health_ping_interval_ms: Annotated[int, Field(ge=50, le=60_000)] = 1_000
    health_max_age_ms: Annotated[int, Field(ge=100, le=120_000)] = 1_800

    # Alerts
    alert_urls: SecretStr | None = None
    alert_rules: Annotated[str, Field(max_length=500), AfterValidator(checked_rules)] = "all"
    alert_quiet_hours: Annotated[str, Field(max_length=100), AfterValidator(checked_quiet_hours)] = ""
    alert_hook_secret: Annotated[SecretStr | None, AfterValidator(hook_secret)] = None
    alert_cooldown_minutes: Annotated[int, Field(ge=0, le=1440)] = 30
    alert_max_per_hour: Annotated[int, Field(ge=1, le=200)] = 20
    memory_limit_mb: Annotated[int, Field(ge=16, le=16_777_216)] | None = None
    public_url: WebAddress = ""
    render_external_url: WebAddress = ""
    trace_url_template: Annotated[str, AfterValidator(trace_template)] = ""

    # Error trackers
    sentry_dsn: SecretStr | None = None
    rollbar_access_token: SecretStr | None = None
    rollbar_endpoint: WebAddress = ""
    error_reporters: Annotated[frozenset[str], BeforeValidator(words)] = frozenset()

    # Environment
    app_env: Annotated[Environment, BeforeValidator(_environment)] = Environment.PRODUCTION
    app_release: Annotated[str, Field(max_length=100)] = ""
    render_git_commit: Annotated[str, Field(max_length=100)] = ""
    render: bool = False
    render_instance_id: Annotated[str, Field(max_length=100)] = ""
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8_000
    web_concurrency: Annotated[int, Field(ge=1, le=128)] = 2
    state_dir: Path = Path("var")
    state_dir_durable: bool | None = None
    trusted_proxies: Annotated[int, Field(ge=0, le=10)] = 0

    # Requests
    request_deadline_ms: Milliseconds = 10_000
    mobile_timeout_factor: Annotated[float, Field(ge=1, le=10)] = 2.0
    body_timeout_ms: Milliseconds = 5_000
    graceful_timeout_ms: Milliseconds = 25_000
    shutdown_limit_ms: Milliseconds = 30_000
    max_body_bytes: ByteSize = 1024 * 1024
    body_encodings: Annotated[frozenset[str], BeforeValidator(words)] = frozenset()
    idempotency_ttl: Annotated[int, Field(ge=1, le=31 * 24 * 3600)] = 24 * 3600

    # Tokens
    jwt_algorithm: Literal["HS256", "RS256", "ES256"] = "HS256"
    jwt_secret_key: SecretStr | None = None
    jwt_public_key: Annotated[str | None, BeforeValidator(pem)] = None
    jwt_roles_claim: Annotated[str, Field(min_length=1, max_length=64)] = "roles"
    jwt_issuer: Annotated[str, Field(min_length=1, max_length=200)] = "prodfix"
    jwt_audience: Annotated[str, Field(min_length=1, max_length=200)] = "prodfix-admin"
    jwt_require_jti: bool = True
    jwt_max_lifetime_hours: Annotated[float, Field(gt=0, le=8760)] = 31 * 24.0
    jwt_not_before: Annotated[datetime | None, BeforeValidator(moment)] = None
    jwt_revoked: Annotated[frozenset[str], BeforeValidator(words)] = frozenset()

    @field_validator("rate_limit_storage_uri")
    @classmethod
    def _store_is_another(cls, uri: SecretStr | None) -> SecretStr | None:
        if uri is not None and uri.get_secret_value().partition("://")[0].startswith("mongodb"):
            raise ValueError("must not be MongoDB: the diagnostics answer while that is down")
        return uri

    @field_validator("mongodb_uri", "diagnostics_uri")
    @classmethod
    def _uri_is_one(cls, uri: SecretStr | None) -> SecretStr | None:
        if uri is None:
            return None
        text = uri.get_secret_value().strip()
        if not text.startswith(("mongodb://", "mongodb+srv://")):
            raise ValueError("must begin with mongodb:// or mongodb+srv://")
        check_uri(text)
        return SecretStr(text)

    @field_validator("alert_urls")
    @classmethod
    def _urls_can_be_used(cls, urls: SecretStr | None) -> SecretStr | None:
        if urls is None or not alert_urls(urls.get_secret_value()):
            return None
        schemes = {route.scheme for route in _routes(urls)}
        if not schemes <= DIRECT and importlib.util.find_spec("apprise") is None:
            raise ValueError("needs the package apprise: pip install apprise, or prodfix with its extra alerts")
        return urls

    @field_validator("sentry_dsn")
    @classmethod
    def _sentry_can_be_used(cls, dsn: SecretStr | None) -> SecretStr | None:
        return _of_extra(dsn, "sentry-sdk", "sentry")

    @field_validator("rollbar_access_token")
    @classmethod
    def _rollbar_can_be_used(cls, token: SecretStr | None) -> SecretStr | None:
        return _of_extra(token, "rollbar", "rollbar")

    @field_validator("opentelemetry")
    @classmethod
    def _signals_can_be_sent(cls, signals: frozenset[str]) -> frozenset[str]:
        # Traces are looked for where the application has loaded the package itself.
        if signals & {"logs", "metrics"} and importlib.util.find_spec("opentelemetry") is None:
            raise ValueError(
                "logs and metrics need the package opentelemetry: "
                "pip install opentelemetry-api, or prodfix with its extra otel"
            )
        return signals

    @property
    def collects_metrics(self) -> bool:
        """Whether anybody is to be told of metrics."""
        return self.metrics_token is not None or self.metrics_port is not None or "metrics" in self.opentelemetry

    @property
    def production(self) -> bool:
        return self.app_env is Environment.PRODUCTION

    @property
    def release(self) -> str:
        """What is deployed: ``APP_RELEASE``, or the commit that Render names."""
        return self.app_release or self.render_git_commit

    @property
    def alert_channels(self) -> tuple[str, ...]:
        """The URLs of ``ALERT_URLS``: secrets, as most hold a password or a token."""
        return tuple(route.url for route in self.alert_routes)

    @property
    def alert_routes(self) -> tuple[AlertRoute, ...]:
        """The same, with the rules whose alerts go there."""
        return _routes(self.alert_urls)

    @property
    def rules_on(self) -> frozenset[AlertKind]:
        """The rules of alerts that are looked at."""
        return alert_rules(self.alert_rules)

    @property
    def quiet_hours(self) -> QuietHours | None:
        return quiet_hours(self.alert_quiet_hours)

    @property
    def address(self) -> str:
        """Where people find the service: ``PUBLIC_URL``, or what Render says; empty if nobody does."""
        return self.public_url or self.render_external_url

    @property
    def instance(self) -> str:
        """Which instance of the service this is: Render's name for it, or the host's."""
        return self.render_instance_id or socket.gethostname()[:100]

    @property
    def durable(self) -> bool:
        """Whether what is in ``STATE_DIR`` survives a restart of the instance.

        Render's disk is ephemeral unless one is attached (render.com/docs/disks), so there the answer is no unless
        ``STATE_DIR_DURABLE`` says otherwise or ``STATE_DIR`` is a mount of its own.
        """
        if self.state_dir_durable is not None:
            return self.state_dir_durable
        return not self.render or os.path.ismount(self.state_dir)

    @property
    def jwt_verification_key(self) -> str | None:
        """What signatures of tokens are checked with: the public key of an identity provider, or our own secret one."""
        if self.jwt_algorithm != "HS256":
            return self.jwt_public_key
        return self.jwt_secret_key.get_secret_value() if self.jwt_secret_key else None

    @property
    def defers_writes(self) -> bool:
        queue = self.enable_operation_queue
        return queue is OperationQueue.EPHEMERAL or (queue is OperationQueue.ON and self.durable)

    def mongo_options(self) -> dict[str, Any]:
        """The seed's Mongoose options as PyMongo options, and the limits that the driver leaves open.

        Source: pymongo.mongo_client.MongoClient. ``waitQueueTimeoutMS`` is unlimited by default: a full pool blocks for ever.
        """
        return {
            "maxPoolSize": self.db_pool_size,
            "minPoolSize": min(self.db_min_pool_size, self.db_pool_size),
            "connectTimeoutMS": self.db_connect_timeout_ms,
            "socketTimeoutMS": self.db_socket_timeout_ms,
            "serverSelectionTimeoutMS": self.db_server_selection_timeout_ms,
            "waitQueueTimeoutMS": self.db_wait_queue_timeout_ms,
            "heartbeatFrequencyMS": self.db_heartbeat_ms,
            "retryWrites": True,
            "retryReads": True,
            "appname": "prodfix",
        }

    @classmethod
    def from_env(cls, env_file: Path | None = None, *, served: bool = False) -> Self:
        """Those of the served application: ``PRODFIX_X``, then ``X``, each from the environment and then from ``env_file``, if
        that exists.

        ``served`` also demands what the served application cannot do without: a token key in production; elsewhere one
        is made in ``STATE_DIR/jwt.key``, mode 0600, so that all workers and the command line share it.

        Raises :class:`SettingsError` with every problem at once.
        """
        given = settings_sources.served(cls.model_fields, os.environ, env_file)
        settings, problems = cls._built(given)
        if settings is None:
            # What only the served application demands is checked also when another value is wrong: one start tells all.
            readable = cls._built({name: one for name, one in given.items() if one.name not in problems})[0]
        else:
            readable = settings
        if served and readable is not None:
            names = {name.upper(): one.name for name, one in given.items()}
            problems |= {names.get(name, name): text for name, text in readable._served_problems().items()}
        if settings is None or problems:
            raise SettingsError(problems)
        return settings._with_development_key() if served else settings

    @classmethod
    def of_host(cls, config: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> Self:
        """Those of an application that takes prodfix in: ``config["PRODFIX_X"]`` of ``app.config``, then ``PRODFIX_X`` in the
        environment. No other name is ours, and none can keep the host from its start: its ``MONGO_URI`` or ``MONGODB_URI``
        is the default of ``mongodb_uri`` if it is one, and what a platform says of itself counts if it can be read.

        Raises :class:`SettingsError` with every problem at once.
        """
        given = settings_sources.host(cls.model_fields, config, environ)
        settings, problems = cls._built(given)
        foreign = {name for name, one in given.items() if not one.ours}
        if settings is None and foreign:
            kept = {name: one for name, one in given.items() if one.ours or one.name not in problems}
            settings, problems = cls._built(kept)
        if settings is None:
            raise SettingsError(problems)
        return settings

    @classmethod
    def _built(cls, given: Mapping[str, Given]) -> tuple[Self | None, dict[str, str]]:
        """The settings, or what is wrong with them, by the name that each was given under."""
        try:
            return cls(**{name: one.value for name, one in given.items()}), {}
        except ValidationError as error:
            return None, {given[field].name: problem for field, problem in error.problems.items()}

    def _served_problems(self) -> dict[str, str]:
        problems: dict[str, str] = {}
        key = self.jwt_secret_key
        if self.jwt_algorithm != "HS256":
            problems |= self._public_key_problems()
        elif self.production and key is None:
            problems["JWT_SECRET_KEY"] = (
                "is required in production; make one with: python3 -c 'import secrets; print(secrets.token_urlsafe(48))'"
            )
        if key is not None and len(key.get_secret_value().encode()) < SHORTEST_JWT_KEY:
            problems["JWT_SECRET_KEY"] = f"must be at least {SHORTEST_JWT_KEY} bytes long"
        if self.production and not self.diagnostics_auth_required:
            problems["DIAGNOSTICS_AUTH_REQUIRED"] = "cannot be false in production"
        longest = self.request_deadline_ms * self.mobile_timeout_factor
        if longest >= self.graceful_timeout_ms:
            problems["REQUEST_DEADLINE_MS"] = (
                "times MOBILE_TIMEOUT_FACTOR must be less than GRACEFUL_TIMEOUT_MS: a deploy would cut such requests"
            )
        if self.graceful_timeout_ms >= self.shutdown_limit_ms:
            problems["GRACEFUL_TIMEOUT_MS"] = "must be less than SHUTDOWN_LIMIT_MS, after which the host kills"
        if self.metrics_port is not None and self.metrics_port == self.port:
            problems["METRICS_PORT"] = "must be another port than PORT, which is reached from outside"
        if self.health_max_age_ms <= self.health_ping_interval_ms:
            problems["HEALTH_MAX_AGE_MS"] = "must be longer than HEALTH_PING_INTERVAL_MS"
        return problems

    def _public_key_problems(self) -> dict[str, str]:
        if self.jwt_public_key is None:
            return {"JWT_PUBLIC_KEY": f"is required with JWT_ALGORITHM={self.jwt_algorithm}: the issuer's, as PEM"}
        try:
            check_public_key(self.jwt_algorithm, self.jwt_public_key)
        except ValueError as error:
            return {"JWT_PUBLIC_KEY": str(error)}
        return {}

    def _with_development_key(self) -> Self:
        if self.jwt_secret_key is not None or self.production:
            return self  # in production a key of one instance's disk would be another one on the next
        try:
            key = shared_key(self.state_dir / "jwt.key")
        except DevelopmentKeyError as error:
            raise SettingsError({"STATE_DIR": str(error)}) from None
        return self.model_copy(update={"jwt_secret_key": SecretStr(key)})


def _routes(urls: SecretStr | None) -> tuple[AlertRoute, ...]:
    """Raises ``ValueError``, which names what is wrong by its number: the URLs are secrets."""
    found = []
    for number, url in enumerate(alert_urls(urls.get_secret_value()) if urls is not None else (), 1):
        try:
            found.append(alert_route(url))
        except ValueError as error:
            raise ValueError(f"number {number} {error}") from None
    return tuple(found)


def _of_extra(secret: SecretStr | None, distribution: str, extra: str) -> SecretStr | None:
    """The secret, if it is any and its package is installed. Raises ``ValueError``."""
    if secret is None or not secret.get_secret_value().strip():
        return None
    package = distribution.replace("-", "_")
    if importlib.util.find_spec(package) is None:
        raise ValueError(f"needs the package {package}: pip install {distribution}, or prodfix with its extra {extra}")
    return SecretStr(secret.get_secret_value().strip())
