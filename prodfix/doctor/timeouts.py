"""Times and numbers that must fit into each other: settings against settings, and against gunicorn's own options."""

from __future__ import annotations

from collections.abc import Iterator

from prodfix.doctor.findings import Finding, NotApplicable, counted, error, note, warning
from prodfix.doctor.launch import Gunicorn
from prodfix.doctor.registry import check
from prodfix.doctor.subject import Subject
from prodfix.request.deadlines import VIEW, backoff, database_share
from prodfix.settings import Settings

OWN_CONNECTIONS = 4 + 2  # of a worker's clients for what prodfix stores and for its pings
FREE_TIER = 500  # connections of a free or shared cluster (mongodb.com/docs/atlas/reference/free-shared-limitations)
SMALL_TIER = 1500  # and of the smallest dedicated one, M10
MONITORS = (2 + 1 + 1) * 3  # connections of its three clients that watch the three members of a replica set
LONGEST_KEEPALIVE = 5  # seconds
TURN_MS = 600  # until a sibling has taken over a ping of whoever stands still


def longest_request(settings: Settings) -> float:
    """Seconds that a request may take at most: a mobile device's."""
    return settings.request_deadline_ms * settings.mobile_timeout_factor / 1000


@check("deadline-order", "settings")
def deadline_order(subject: Subject) -> Iterator[Finding]:
    """Each limit is shorter than the one around it.

    The database's part < the request < a worker that ends < the host that kills.
    """
    settings = subject.settings
    longest, graceful = longest_request(settings), settings.graceful_timeout_ms / 1000
    limit = settings.shutdown_limit_ms / 1000
    if longest >= graceful:
        yield error(
            f"a mobile device's request may take {longest:g} s, and a worker that ends gives it {graceful:g} s",
            "Make REQUEST_DEADLINE_MS times MOBILE_TIMEOUT_FACTOR less than GRACEFUL_TIMEOUT_MS: each deploy cuts such requests",
            longestSeconds=longest,
            gracefulSeconds=graceful,
        )
    if graceful >= limit:
        yield error(
            f"a worker that ends has {graceful:g} s, and the host kills it after {limit:g} s",
            "Make GRACEFUL_TIMEOUT_MS less than SHUTDOWN_LIMIT_MS, the host's own limit (Render's maxShutdownDelaySeconds)",
            gracefulSeconds=graceful,
            shutdownSeconds=limit,
        )


@check("view-deadlines", "settings")
def views(subject: Subject) -> Iterator[Finding]:
    """No view may take longer than a worker that ends."""
    factor, graceful = subject.settings.mobile_timeout_factor, subject.settings.graceful_timeout_ms / 1000
    own = {name: getattr(view, VIEW, None) for name, view in subject.app.view_functions.items()}
    longer = sorted(name for name, seconds in own.items() if seconds is not None and seconds * factor >= graceful)
    if longer:
        yield warning(
            f"{counted(len(longer), 'view')} may take longer than the {graceful:g} s that a worker which ends gives them",
            "Shorten their @deadline, or say @deadline(None) where a deploy may cut them",
            views=longer[:20],
        )


@check("health-age", "settings")
def health_age(subject: Subject) -> Iterator[Finding]:
    """A ping is looked at before it is too old."""
    settings = subject.settings
    if settings.health_max_age_ms <= settings.health_ping_interval_ms:
        yield error(
            "HEALTH_MAX_AGE_MS is not longer than HEALTH_PING_INTERVAL_MS: a healthy database looks lost between two pings",
            f"Make HEALTH_MAX_AGE_MS at least {TURN_MS} ms longer",
            maxAgeMs=settings.health_max_age_ms,
            intervalMs=settings.health_ping_interval_ms,
        )
    elif settings.health_max_age_ms < settings.health_ping_interval_ms + TURN_MS:
        yield warning(
            "HEALTH_MAX_AGE_MS leaves too little time after HEALTH_PING_INTERVAL_MS: where the worker whose turn it is stands"
            " still, another one asks too late, and a healthy database looks lost",
            f"Make HEALTH_MAX_AGE_MS at least {TURN_MS} ms longer",
            maxAgeMs=settings.health_max_age_ms,
            intervalMs=settings.health_ping_interval_ms,
        )


@check("retries-fit", "settings")
def retries(subject: Subject) -> Iterator[Finding]:
    """All retries fit into a request's deadline."""
    settings = subject.settings
    left = database_share(settings.request_deadline_ms / 1000)
    base, wanted = settings.retry_base_delay_ms / 1000, settings.max_retry_attempts
    waited, possible = 0.0, 0
    for attempt in range(1, wanted + 1):
        waited += backoff(attempt, base, jitter=0)
        if waited >= left:
            break
        possible = attempt
    if settings.enable_error_recovery and possible < wanted:
        yield warning(
            f"of {wanted} retries at most {possible} fit into the {left:g} s that the database has of a request",
            "Lower MAX_RETRY_ATTEMPTS or RETRY_BASE_DELAY_MS, or raise REQUEST_DEADLINE_MS",
            retries=wanted,
            possible=possible,
            baseDelayMs=settings.retry_base_delay_ms,
        )


@check("waits-fit", "settings")
def waits(subject: Subject) -> Iterator[Finding]:
    """Nothing that is waited for is longer than a request."""
    settings = subject.settings
    whole = settings.request_deadline_ms
    left = database_share(whole / 1000) * 1000
    longer = {
        name: value
        for name, value, limit in (
            ("DB_WAIT_QUEUE_TIMEOUT_MS", settings.db_wait_queue_timeout_ms, left),
            ("SLOW_QUERY_THRESHOLD_MS", settings.slow_query_threshold_ms, left),
            ("BODY_TIMEOUT_MS", settings.body_timeout_ms, whole),
        )
        if value >= limit
    }
    if longer:
        yield note(
            f"{', '.join(longer)}: as long as a request ({whole / 1000:g} s, of which the database has {left / 1000:g} s)",
            "Lower them, so that a full pool, a slow query or a slow body is told as what it is",
            **longer,
        )


@check("connection-total", "settings")
def connections(subject: Subject) -> Iterator[Finding]:
    """The pools of all workers are within what servers usually take."""
    settings, workers, instances = subject.settings, subject.workers, subject.deployment.instances
    each = settings.db_pool_size + OWN_CONNECTIONS + MONITORS
    total = each * workers * instances
    facts = {"perWorker": each, "workers": workers, "instances": instances, "total": total}
    found = f"{counted(workers, 'worker')} on {counted(instances, 'instance')} may hold {total} connections"
    if total > SMALL_TIER:
        yield warning(
            f"{found}; the smallest dedicated Atlas cluster takes {SMALL_TIER}",
            "Lower DB_POOL_SIZE or WEB_CONCURRENCY, or see that your cluster takes as many",
            **facts,
        )
    elif total > FREE_TIER:
        yield note(
            f"{found}; a free or shared Atlas cluster takes {FREE_TIER}",
            "Lower DB_POOL_SIZE if yours is one",
            **facts,
        )


@check("gunicorn-limits", "process")
def gunicorn_limits(subject: Subject) -> Iterator[Finding]:
    """gunicorn's own times fit the settings."""
    gunicorn, settings = _gunicorn(subject), subject.settings
    longest, limit = longest_request(settings), settings.shutdown_limit_ms / 1000
    graceful, cut = (
        gunicorn.graceful_timeout,
        error if subject.served else warning,
    )  # a host may have no deadline of ours
    if graceful >= limit:
        yield cut(
            f"gunicorn's graceful timeout is {graceful} s, and the host kills after {limit:g} s",
            "Let `--graceful-timeout` be less than SHUTDOWN_LIMIT_MS",
            gracefulSeconds=graceful,
        )
    elif graceful <= longest:
        yield cut(
            f"gunicorn's graceful timeout is {graceful} s, and a mobile device's request may take {longest:g} s",
            "Take `--graceful-timeout` out of the start command, so that GRACEFUL_TIMEOUT_MS holds",
            gracefulSeconds=graceful,
        )
    elif graceful != settings.graceful_timeout_ms // 1000:
        yield warning(
            f"gunicorn's graceful timeout is {graceful} s, and GRACEFUL_TIMEOUT_MS is {settings.graceful_timeout_ms}",
            "Let one of them go: the order of the deadlines is checked against GRACEFUL_TIMEOUT_MS",
            gracefulSeconds=graceful,
        )
    if gunicorn.keepalive > LONGEST_KEEPALIVE:
        yield warning(
            f"idle connections are kept for {gunicorn.keepalive} s, and count as work when a worker ends",
            f"Say `--keep-alive {LONGEST_KEEPALIVE}`: each deploy waits for them, up to the graceful timeout",
            keepAliveSeconds=gunicorn.keepalive,
        )
    if not gunicorn.gevent and 0 < gunicorn.timeout <= longest and gunicorn.threads <= 1:
        yield cut(
            f"a {gunicorn.worker_class} worker is killed after {gunicorn.timeout} s, and a request may take {longest:g} s",
            "Raise `--timeout`, or serve with `-k gevent`",
            timeoutSeconds=gunicorn.timeout,
        )


@check("worker-class", "process")
def worker_class(subject: Subject) -> Iterator[Finding]:
    """The workers can end a request that waits for anything.

    Only gevent can end a view that waits for something else than the database.
    """
    gunicorn = _gunicorn(subject)
    if not gunicorn.gevent:
        level = warning if subject.served else note
        yield level(
            f"{gunicorn.worker_class} workers: of a request's deadline only the database's part can be enforced",
            "Serve with `-k gevent`, or give every other call of a view a timeout of its own",
            workerClass=gunicorn.worker_class,
        )


@check("start-commands", "process")
def start_commands(subject: Subject) -> Iterator[Finding]:
    """The files agree on how it is started."""
    commands = subject.deployment.commands
    if not commands:
        raise NotApplicable
    if len({command.arguments for command in commands}) > 1:
        yield note(
            f"{' and '.join(command.source for command in commands)} start gunicorn with different options",
            "Make them equal: what is checked here are those of the first one",
        )
    target = (subject.launched().target or "").partition(":")[0]
    if target and subject.module and target != subject.module:
        yield note(
            f"gunicorn loads {target} ({commands[0].source}), and this command has looked at {subject.module}",
            f"Run `flask --app {target} prodfix doctor`",
        )


def _gunicorn(subject: Subject) -> Gunicorn:
    gunicorn = subject.launched().gunicorn
    if gunicorn is None:
        raise NotApplicable  # nobody says how it is started
    return gunicorn
