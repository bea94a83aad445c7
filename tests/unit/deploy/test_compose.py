"""compose.yaml: by the specification's schema, with names that are ours, and a health check that makes the set once."""

from __future__ import annotations

import copy
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import check_jsonschema
import pytest
import yaml
from jsonschema.validators import validator_for

from prodfix import Settings
from tests.support import REPOSITORY
from tests.support.deployment_facts import seconds, unknown_settings
from tests.support.dockerfile import stages

# The specification's own schema, as check-jsonschema ships it.
VENDORED = Path(check_jsonschema.__file__).parent / "builtin_schemas" / "vendor" / "compose-spec.json"
_SPECIFICATION = json.loads(VENDORED.read_text())
SCHEMA = validator_for(_SPECIFICATION)(_SPECIFICATION)
COMPOSE = yaml.safe_load((REPOSITORY / "compose.yaml").read_text())
SERVICE, MONGODB = COMPOSE["services"]["prodfix"], COMPOSE["services"]["mongodb"]
IMAGE = stages((REPOSITORY / "Dockerfile").read_text())[-1]
_VARIABLE = re.compile(r"\$\{(\w+)(?::[-?]([^}]*))?\}")


def problems(compose: Any) -> list[str]:
    return [error.message for error in SCHEMA.iter_errors(compose)]


def test_it_is_what_the_specification_says() -> None:
    assert problems(COMPOSE) == []


@pytest.mark.parametrize(
    ("service", "key", "value"),
    [
        ("prodfix", "stop_grace", "35s"),
        ("prodfix", "ports", "8000"),
        ("prodfix", "depends_on", {"mongodb": {"condition": "healthy"}}),
        ("mongodb", "healthcheck", {"tests": ["CMD", "true"]}),
    ],
)
def test_the_control_what_the_specification_does_not_know_is_found(service: str, key: str, value: Any) -> None:
    wrong = copy.deepcopy(COMPOSE)
    wrong["services"][service][key] = value
    assert problems(wrong) != []


def test_each_variable_is_a_setting_with_a_default_that_is_one() -> None:
    found = {name: _VARIABLE.sub(lambda match: match[2] or "", value) for name, value in SERVICE["environment"].items()}
    assert unknown_settings(list(found)) == []
    settings = Settings(**{name.lower(): value for name, value in found.items() if value})
    assert (settings.durable, settings.web_concurrency, settings.trusted_proxies) == (True, 2, 0)
    assert unknown_settings([*found, "STATE_DIR_DURABEL"]) == ["STATE_DIR_DURABEL"], "the control"


def test_the_volume_and_the_port_are_those_of_the_image() -> None:
    ((name, place),) = (volume.split(":") for volume in SERVICE["volumes"])
    assert name in COMPOSE["volumes"], "it has a name: Docker keeps it when the container goes"
    assert place == IMAGE.last("VOLUME").text == IMAGE.environment["STATE_DIR"]
    (port,) = SERVICE["ports"]
    assert port.startswith("127.0.0.1:")
    assert port.rpartition(":")[2] == IMAGE.last("EXPOSE").text
    assert "ports" not in MONGODB


def test_docker_kills_after_what_gunicorn_needs() -> None:
    assert seconds(SERVICE["stop_grace_period"]) * 1000 > Settings().shutdown_limit_ms
    assert seconds("10s") * 1000 < Settings().graceful_timeout_ms, "the control: Docker's own default is too short"


def test_the_application_waits_for_a_replica_set_that_it_names() -> None:
    assert SERVICE["depends_on"] == {"mongodb": {"condition": "service_healthy"}}
    assert (
        f"replicaSet={MONGODB['command'][MONGODB['command'].index('--replSet') + 1]}"
        in (SERVICE["environment"]["MONGODB_URI"])
    )
    assert f'"{MONGODB["hostname"]}:27017"' in MONGODB["healthcheck"]["test"][-1]


def test_no_secret_stands_in_it_and_the_key_is_asked_for() -> None:
    assert SERVICE["environment"]["JWT_SECRET_KEY"].startswith("${JWT_SECRET_KEY:?")


MONGOSH = """
let initiated = 0, code = null;
class NotYet extends Error { codeName = "NotYetInitialized" }
class Refused extends Error { codeName = "Unauthorized" }
const states = { new: new NotYet("no replset config"), refused: new Refused("no") };
const rs = {
    status() { if (states[STATE]) throw states[STATE]; return { ok: 1 } },
    initiate(given) { initiated += 1; if (given.members[0].host !== "mongodb:27017") throw new Error(given) },
};
const db = { hello: () => ({ isWritablePrimary: STATE === "primary" }) };
const quit = given => { code = given };
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="the check is JavaScript")
@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("new", {"initiated": 1, "code": 1}),
        ("secondary", {"initiated": 0, "code": 1}),
        ("primary", {"initiated": 0, "code": 0}),
        ("refused", None),
    ],
)
def test_the_health_check_makes_the_set_once_and_only_where_there_is_none(
    state: str, expected: dict[str, int] | None
) -> None:
    *_, script = MONGODB["healthcheck"]["test"]
    shown = "console.log(JSON.stringify({ initiated, code }))"
    done = subprocess.run(
        ["node", "-e", f"const STATE = {state!r};\n{MONGOSH}\n{script}\n{shown}"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    if expected is None:
        assert done.returncode != 0, "what is no new set is no reason to make one"
    else:
        assert json.loads(done.stdout) == expected, done.stderr
