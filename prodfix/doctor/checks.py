"""All checks, by family. The code of a check stays what it is; the sentence is what has been found if nothing is wrong."""

from __future__ import annotations

from prodfix.doctor import (
    configuration,
    database,
    disk,
    handlers,
    health_checks,
    indexes,
    journals,
    limits,
    patching,
    resources,
    tokens,
    uri,
    variables,
)
from prodfix.doctor.examined import Examined
from prodfix.doctor.findings import Check

Checks = tuple[Check[Examined], ...]

FAMILIES: dict[str, Checks] = {
    "settings": (
        Check("variable-names", variables.misspelt, "every variable that looks like a setting is one"),
        Check("environment-name", variables.environment_name, "APP_ENV is what it says"),
        Check("rollback-switches", variables.switches, "no switch of the rollback plan is off"),
        Check("log-level", variables.verbosity, "the log level fits the environment"),
        Check("diagnostics-open", variables.diagnostics_open, "the diagnostics ask for an admin"),
        Check("deadline-order", limits.deadline_order, "each limit is shorter than the one around it"),
        Check("view-deadlines", limits.views, "no view may take longer than a worker that ends"),
        Check("health-age", limits.health_age, "a ping is looked at before it is too old"),
        Check("retries-fit", limits.retries, "all retries fit into a request's deadline"),
        Check("waits-fit", limits.waits, "nothing that is waited for is longer than a request"),
        Check("connection-total", limits.connections, "the pools of all workers are within what servers usually take"),
    ),
    "uri": (
        Check("write-concern", uri.write_concern, "what is acknowledged is there"),
        Check("retryable", uri.retryable, "the driver repeats what a failover has cut"),
        Check("primary", uri.topology, "operations go to the primary"),
        Check("certificates", uri.encryption, "the server's certificate is checked"),
        Check("database-name", uri.database_name, "the URI names its database"),
        Check("authentication-source", uri.authentication, "the URI says where its user is known"),
        Check("overruled-options", uri.overruled, "settings and options of the URI do not contradict each other"),
        Check("unknown-options", uri.unknown, "the driver knows every option"),
    ),
    "database": (
        Check("database-reachable", database.reachable, "the database answers"),
        Check("server-version", database.version, "its release is one that gets fixes"),
        Check("server-topology", database.topology, "it has transactions, and takes writes"),
        Check("clock", database.clock, "its clock and this host's agree"),
        Check("rights", database.rights, "prodfix may write and delete in its own collections"),
        Check("transactions", database.transactions, "a transaction commits"),
        Check("model-indexes", indexes.models, "indexes, and in production validators, are as the models say"),
        Check("own-indexes", indexes.expiry, "what prodfix stores is removed when it is old"),
        Check("collection-names", indexes.names, "the collections with prodfix's names are prodfix's"),
    ),
    "tokens": (
        Check("token-key", tokens.missing, "the diagnostics can tell an admin from a stranger"),
        Check("token-key-length", tokens.length, "the key is long enough"),
        Check("token-key-strength", tokens.strength, "the key looks random"),
        Check("token-key-own", tokens.development, "the key is this environment's own"),
    ),
    "disk": (
        Check("state-folder", disk.state_folder, "STATE_DIR can be written"),
        Check("log-folder", disk.log_folder, "LOG_DIR can be written"),
        Check("file-modes", disk.modes, "what is kept there is for the service's user alone"),
        Check("state-durability", disk.durability, "what waits there survives a restart"),
        Check("state-mount", disk.mounted, "the disk that is said to be attached is there"),
        Check("log-durability", disk.log_durability, "the log files survive a restart"),
        Check("free-space", disk.space, "there is room for what may wait, and for the logs"),
        Check("journal-failing", journals.failing, "the journals of all workers work"),
        Check("journal-corrupt", journals.corrupt, "no journal file was put aside"),
        Check("journal-versions", journals.versions, "no journal file is of another version"),
        Check("journal-abandoned", journals.abandoned, "nothing waits in files of dead workers"),
        Check("dead-letters", journals.dead_letters, "no deferred write was put aside"),
    ),
    "process": (
        Check("application-loads", patching.loads, "the application loads in a fresh interpreter"),
        Check("patch-order", patching.order, "the standard library is patched before anything keeps a name of it"),
        Check("preload", patching.preload, "gunicorn loads the application in its workers"),
        Check("start-commands", limits.start_commands, "the files agree on how it is started"),
        Check("gunicorn-limits", limits.gunicorn_limits, "gunicorn's own times fit the settings"),
        Check("worker-class", limits.worker_class, "the workers can end a request that waits for anything"),
        Check("memory", resources.memory_limit, "all workers together stay within the memory limit"),
        Check("file-descriptors", resources.descriptors, "a worker may open as many files as it needs"),
        Check("python-version", resources.python, "Python and gevent go together"),
        Check("driver-version", resources.driver_version, "the driver survives greenlets that are killed"),
        Check("driver-names", resources.private_names, "the driver has all that prodfix stands in"),
    ),
    "application": (
        Check("exception-handlers", handlers.everything, "no error handler takes every exception"),
        Check("own-500", handlers.own_500, "what is not handled is answered in one shape"),
        Check("health-routes", health_checks.routes, "the health routes answer by themselves"),
        Check("health-path", health_checks.health_path, "render.yaml's health check asks for the right route"),
        Check("health-host", health_checks.any_host, "health checks are answered under any host name"),
        Check("proxies", health_checks.proxies, "the addresses of users are known"),
        Check("flask-flags", configuration.flags, "Flask is configured for its environment"),
        Check("json-provider", configuration.json_provider, "bodies are plain JSON"),
        Check("observed-clients", configuration.clients, "every client of the application is observed"),
    ),
}
