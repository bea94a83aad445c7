"""What each setting is for, in the order in which a reader looks for them: the reference of the settings is made of it."""

from __future__ import annotations

from collections.abc import Mapping

GROUPS: Mapping[str, Mapping[str, str]] = {
    "Database": {
        "MONGODB_URI": "Where MongoDB is; the database is the URI's, or `prodfix`",
        "DIAGNOSTICS_URI": (
            "Another database, or another cluster, for errors, counts, groups, incidents and claims of alerts; default: with "
            "the application's"
        ),
        "DB_POOL_SIZE": "Connections of a worker at most",
        "DB_MIN_POOL_SIZE": "Connections that are kept open",
        "DB_CONNECT_TIMEOUT_MS": "Making a connection",
        "DB_SOCKET_TIMEOUT_MS": "Waiting for an answer",
        "DB_SERVER_SELECTION_TIMEOUT_MS": "Waiting for a server; a database known to be down is not waited for",
        "DB_WAIT_QUEUE_TIMEOUT_MS": (
            "Waiting for a connection of a full pool (the driver's own default is for ever), once for each "
            "operation, or what is left of the deadline"
        ),
        "DB_HEARTBEAT_MS": "The driver's own check of the server",
    },
    "Logs and queries": {
        "LOG_LEVEL": "`debug`, `info`, `warn` (or `warning`) or `error`, in any case",
        "LOG_DIR": "Folder of the log files",
        "LOG_FILE_MAX_SIZE": "Size at which a file is rotated",
        "LOG_FILE_MAX_FILES": "Files of each kind that are kept",
        "LOG_DISK_RESERVE": (
            "Of a disk that has `STATE_DIR` too, log files leave so much to the journals (a tenth of it at "
            "most); the console goes on"
        ),
        "LOG_ROTATION": "`daily` (and by size) or `size`",
        "LOG_SCHEMA": "The names in a line: `prodfix`, `ecs` (Elastic Common Schema) or `otel` (OpenTelemetry)",
        "OPENTELEMETRY": (
            "What OpenTelemetry has of it: `traces` (the active span of a request, where the application itself has "
            "loaded OpenTelemetry), `logs` and `metrics` (sent by the SDK that the application has set up)"
        ),
        "ENABLE_QUERY_LOGGING": "The query interceptor",
        "SLOW_QUERY_THRESHOLD_MS": "Commands from this duration on are logged",
        "QUERY_LOG_SAMPLE": (
            "Share of the other commands that is logged too, 0 to 1; with `LOG_LEVEL=debug` every start and end is"
        ),
        "QUERY_LOG_VALUES": "Fields whose values may stand in the log: `orders.status,orders.kind`",
        "QUERY_REPEAT_THRESHOLD": "Commands of one kind in one request that are hinted at as an N+1 query",
        "ENABLE_QUERY_ADVICE": "Explain slow commands, once an hour for each kind",
    },
    "Errors, recovery and deferred writes": {
        "ENABLE_ERROR_HANDLER": "`false` gives the host its own error answers back",
        "MAX_RETRY_ATTEMPTS": "Tries after the first",
        "MAX_CONFLICT_RETRIES": "Tries of one operation after write conflicts, with waits of their own",
        "RETRY_BASE_DELAY_MS": "The first delay; then twice, four times ... up to 16 s, within the deadline",
        "MOBILE_EXTRA_RETRIES": "More tries for a mobile device's request when the connection is lost",
        "RETRY_BUDGET": "Retries for each first try, over 10 s and one worker; 3 are always left",
        "BREAKER_FAILURES": "Operations that fail in a row and open the circuit breaker; `0`: only the pinger does",
        "ENABLE_ERROR_RECOVERY": "Retries of `recovery`, and the breaker's own counting",
        "ENABLE_OPERATION_QUEUE": "Deferred writes: `true` (on a durable disk), `false`, `ephemeral` (on any disk)",
        "DEFERRED_MAX_ENTRIES": "Writes that may wait in one worker's journal",
        "DEFERRED_MAX_BYTES": "And their size; those that were put aside count too",
        "DEFERRED_MAX_ATTEMPTS": "Tries before a waiting write is put aside",
        "DEFERRED_MAX_AGE_HOURS": "Age at which it is put aside without another try",
        "DEFERRED_DRAIN_RATE": (
            "Writes a second that a worker applies at most when the database is back, in at most half of the time"
        ),
        "ERROR_BURST": "Errors of one kind that a worker logs in full at once",
        "ERROR_RATE": "And then how many a second",
        "ERROR_RETENTION_DAYS": "How long errors, events and counts are kept",
        "ERROR_KEEP_PER_KIND": (
            "Records of one kind of error that are kept: the first, the newest, and a sample of those between; counts stay exact"
        ),
        "ERROR_MAX_MB": (
            "Megabytes in MongoDB for all that is prodfix's, with its indexes; default: 5 % of the database's disk, 100 at "
            "most, and 25 where it does not tell its size"
        ),
    },
    "Diagnostics and health": {
        "ENABLE_DIAGNOSTICS": "The routes below `/api/v1/diagnostics`",
        "DIAGNOSTICS_AUTH_REQUIRED": "Cannot be `false` in production",
        "DIAGNOSTICS_RATE_LIMIT": "Requests of one admin below `/api/v1/diagnostics`, in each worker",
        "DIAGNOSTICS_TEST_RATE_LIMIT": "Those that try something on the database",
        "DIAGNOSTICS_SOURCE_LINES": (
            "Three lines of the installed source beside each of the application's own frames on the page of a kind of error"
        ),
        "RATE_LIMIT_STORAGE_URI": (
            "A store for both limits that all workers share, where there is one: `redis://...` or "
            "`memcached://...` ([limits](https://limits.readthedocs.io/)); not MongoDB"
        ),
        "HEALTH_PING_INTERVAL_MS": "Between two pings of an instance, whose workers ask in turns",
        "HEALTH_MAX_AGE_MS": "How old the last good ping of a healthy database is at most",
    },
    "Metrics": {
        "METRICS_TOKEN": (
            "The bearer token of who scrapes `GET /metrics`, at least 32 random characters; without it, and without "
            "`METRICS_PORT`, there are no metrics"
        ),
        "METRICS_PORT": (
            "A port for the metrics alone, which one worker of the instance serves; the application has no route then"
        ),
        "METRICS_HOST": "Where that port listens; from elsewhere than this machine with `0.0.0.0`",
    },
    "Alerts": {
        "ALERT_URLS": (
            "Where alerts go: `hooks://`, `pagerduty://`, `opsgenie://` and Apprise's URLs, divided by white space or commas; "
            "each with `?rules=...` for those of some rules ([more](../concepts/alerts.md#who-is-told-of-what))"
        ),
        "ALERT_RULES": "The rules that are looked at: names, or all but some, as `-regression,-memory`; `none`",
        "ALERT_QUIET_HOURS": "`22:00-07:00 Europe/Berlin`: then only what is critical is told, and the rest after them",
        "ALERT_HOOK_SECRET": "Signs what goes to `hooks://` (HMAC-SHA256)",
        "ALERT_COOLDOWN_MINUTES": "In which what comes back is not told again",
        "ALERT_MAX_PER_HOUR": "Alerts in any hour, over all instances",
        "MEMORY_LIMIT_MB": (
            "What the workers of an instance may use together; else the container's limit, if it has one"
        ),
        "PUBLIC_URL": "Where people find the service, for links in alerts; else `RENDER_EXTERNAL_URL`",
        "RENDER_EXTERNAL_URL": "Set by Render",
        "TRACE_URL_TEMPLATE": (
            "Where the page of a request finds its trace: `https://traces.example.org/trace/{traceId}`; default: no link"
        ),
    },
    "Error trackers": {
        "SENTRY_DSN": "Errors go to this project of Sentry, Bugsink or GlitchTip ([more](../sentry.md))",
        "ROLLBAR_ACCESS_TOKEN": "Errors go to this project of Rollbar: a token that may post items of a server",
        "ROLLBAR_ENDPOINT": "Where Rollbar's API is, if it is not its own: `https://api.rollbar.com/api/1/`",
        "ERROR_REPORTERS": "Reporters of other packages, by the names of their entry points in `prodfix.reporters`",
    },
    "Where it runs": {
        "APP_ENV": "`development`, `staging`, `production`; anything else is production (the seed's `NODE_ENV`)",
        "APP_RELEASE": "What is deployed, in every record; else `RENDER_GIT_COMMIT`",
        "RENDER_GIT_COMMIT": "Set by Render",
        "RENDER": "Set by Render: its disk is ephemeral",
        "RENDER_INSTANCE_ID": "Set by Render: which instance it is; else the host's name",
        "HOST": "Where `make run` listens",
        "PORT": "The port; 10000 in the Procfile",
        "WEB_CONCURRENCY": "Worker processes",
        "STATE_DIR": "Journals, the development key, the embedded database",
        "STATE_DIR_DURABLE": "Whether `STATE_DIR` survives a restart; on Render no, unless it is a mount",
        "TRUSTED_PROXIES": "Proxies whose `X-Forwarded-For` is believed",
    },
    "Requests": {
        "REQUEST_DEADLINE_MS": "For one request; the last 500 ms are not the database's",
        "MOBILE_TIMEOUT_FACTOR": (
            "How many times longer a mobile device's request may take; the product must be less than the next"
        ),
        "BODY_TIMEOUT_MS": "For a request's body to arrive",
        "GRACEFUL_TIMEOUT_MS": "What a worker that ends gives its requests (gunicorn's `graceful_timeout`)",
        "SHUTDOWN_LIMIT_MS": (
            "After which the host kills (Render's `maxShutdownDelaySeconds`); must be more than the one before"
        ),
        "MAX_BODY_BYTES": "Size of a request's body",
        "BODY_ENCODINGS": (
            "Content codings that views decode themselves (`gzip,br`); a body with any other is answered with 415"
        ),
        "IDEMPOTENCY_TTL": "Seconds for which an `Idempotency-Key` is kept, with the answer it got",
    },
    "Tokens": {
        "JWT_ALGORITHM": "`HS256` with our own key; `RS256` or `ES256` with that of an identity provider",
        "JWT_SECRET_KEY": (
            "At least 32 bytes; for the served application, outside production, made in `STATE_DIR/jwt.key`; "
            "idempotency keys are hashed with it"
        ),
        "JWT_PUBLIC_KEY": "The identity provider's public key, as PEM; line ends may be written as `\\n`",
        "JWT_ROLES_CLAIM": "The claim that lists roles; `realm_access.roles` is one within another",
        "JWT_ISSUER": "Issuer that tokens must have",
        "JWT_AUDIENCE": "Audience that tokens must have",
        "JWT_REQUIRE_JTI": "Refuse tokens without an identity (`jti`)",
        "JWT_MAX_LIFETIME_HOURS": "Refuse tokens that live longer, from `iat` to `exp`",
        "JWT_NOT_BEFORE": (
            "Refuse tokens that were issued before this moment (ISO 8601, or the ten digits of the seconds "
            "since 1970): take all of them back"
        ),
        "JWT_REVOKED": "Identities (`jti`) of tokens that are taken back, divided by commas or white space",
    },
}
"""Their texts, by group; each setting of :class:`prodfix.Settings` stands once."""

SEEDS = frozenset(
    """
    MONGODB_URI DB_POOL_SIZE DB_CONNECT_TIMEOUT_MS DB_SOCKET_TIMEOUT_MS DB_SERVER_SELECTION_TIMEOUT_MS
    LOG_LEVEL LOG_FILE_MAX_SIZE LOG_FILE_MAX_FILES LOG_ROTATION ENABLE_QUERY_LOGGING SLOW_QUERY_THRESHOLD_MS
    MAX_RETRY_ATTEMPTS RETRY_BASE_DELAY_MS ENABLE_ERROR_RECOVERY ENABLE_OPERATION_QUEUE ENABLE_DIAGNOSTICS
    DIAGNOSTICS_AUTH_REQUIRED APP_ENV
    """.split()
)
"""Those whose names and defaults are the seed's."""
