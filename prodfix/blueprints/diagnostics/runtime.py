"""What the processes of this instance do now, and how much they say: for an admin who looks for what is wrong at this moment."""

from __future__ import annotations

from prodfix import Severity, current_prodfix
from prodfix.blueprints.diagnostics import change_bodies
from prodfix.blueprints.diagnostics.endpoints import blueprint_of, endpoint
from prodfix.blueprints.diagnostics.guard import admin, spend_trial
from prodfix.models import LogLevelsReport, StacksReport

blueprint = blueprint_of("runtime")


@endpoint(blueprint, "GET", "/stacks", StacksReport, admin=True)
def stacks() -> StacksReport:
    """Where the greenlets and threads of all workers stand: files, lines and functions, and no value.

    Each worker answers for itself within some seconds. One that does not is in `silent`: what it does leaves it no moment.
    """
    spend_trial()
    return current_prodfix.runtime.stacks()


@endpoint(blueprint, "GET", "/log-level", LogLevelsReport, operation="listLogLevels")
def log_levels() -> LogLevelsReport:
    """Loggers that have another level than usual for a while, and who wanted it."""
    return current_prodfix.runtime.log_levels.read()


@endpoint(blueprint, "POST", "/log-level", LogLevelsReport, body=change_bodies.LevelOfLogger, operation="setLogLevel")
def set_log_level(body: change_bodies.LevelOfLogger) -> LogLevelsReport:
    """Let a logger of all workers have another level, for so many minutes.

    `usual` takes it back. Workers follow within two seconds, and those that start later do too. The driver's own loggers print
    values of users at `debug`: for them it is refused.
    """
    return changed(body)


def changed(wanted: change_bodies.LevelOfLogger) -> LogLevelsReport:
    """Do it, with a line in the audit log that says what."""
    found = current_prodfix.runtime.log_levels.set(wanted.logger, wanted.level, minutes=wanted.minutes, by=admin())
    facts = {
        "userId": admin(),
        "loggerName": wanted.logger,
        "loggerLevel": wanted.level,
        "minutes": wanted.minutes,
        "result": "changed",
    }
    current_prodfix.logs.event(Severity.INFO, "audit", f"level of a logger: {wanted.level}", "auth", facts=facts)
    return found
