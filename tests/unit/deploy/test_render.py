"""The Blueprints: by the documented keys, with names that are ours, and a limit that gunicorn keeps."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from prodfix import Settings
from tests.support import REPOSITORY
from tests.support.deployment_facts import routes, unknown_settings

SCHEMA = Draft202012Validator(json.loads(Path(__file__).with_name("render.schema.json").read_text()))
PATHS = ("render.yaml", "deploy/render/disk.yaml")
BLUEPRINTS = {path: yaml.safe_load((REPOSITORY / path).read_text()) for path in PATHS}
DISK = BLUEPRINTS[PATHS[1]]
ALL = pytest.mark.parametrize("path", PATHS)

Change = Callable[[dict[str, Any]], None]


def problems(blueprint: Any) -> list[str]:
    return [error.message for error in SCHEMA.iter_errors(blueprint)]


@ALL
def test_a_blueprint_is_what_render_documents(path: str) -> None:
    assert problems(BLUEPRINTS[path]) == []


def changed(change: Change) -> dict[str, Any]:
    blueprint: dict[str, Any] = copy.deepcopy(DISK)
    change(blueprint)
    return blueprint


@pytest.mark.parametrize(
    "change",
    [
        lambda one: one["services"][0].update(healthcheckPath="/x"),
        lambda one: one["services"][0].update(numInstances=2),
        lambda one: one["services"][0].update(maxShutdownDelaySeconds=400),
        lambda one: one["services"][0]["disk"].update(sizeGb=1),
        lambda one: one["services"][0]["envVars"].append({"key": "A", "value": 1}),
        lambda one: one["envVarGroups"][0]["envVars"].append({"key": "MONGODB_URI", "sync": False}),
        lambda one: one.update(envVarGroup=[]),
    ],
)
def test_the_control_what_render_would_refuse_or_ignore_is_found(change: Change) -> None:
    assert problems(changed(change)) != []


def variables(blueprint: dict[str, Any]) -> dict[str, str]:
    """What the service has in the end; the value of one that Render asks for or makes is empty."""
    groups = {group["name"]: group["envVars"] for group in blueprint.get("envVarGroups", [])}
    given = [
        one for entry in blueprint["services"][0]["envVars"] for one in groups.get(entry.get("fromGroup"), [entry])
    ]
    return {one["key"]: one.get("value", "") for one in given}


@ALL
def test_each_variable_is_a_setting_with_a_value_that_is_one(path: str) -> None:
    found = variables(BLUEPRINTS[path])
    assert unknown_settings(list(found)) == []
    assert {"MONGODB_URI", "JWT_SECRET_KEY", "APP_ENV"} <= set(found)
    assert Settings(**{name.lower(): value for name, value in found.items() if value}).production


def test_the_control_a_name_that_is_no_setting_is_found() -> None:
    wrong = changed(lambda one: one["envVarGroups"][0]["envVars"].append({"key": "LOG_LEVELS", "value": "info"}))
    assert unknown_settings(list(variables(wrong))) == ["LOG_LEVELS"]


@ALL
def test_a_service_starts_what_the_procfile_starts_and_is_asked_for_a_path_that_is_there(path: str) -> None:
    (service,) = BLUEPRINTS[path]["services"]
    assert f"web: {service['startCommand']}" == (REPOSITORY / "Procfile").read_text().strip()
    assert service["healthCheckPath"] == "/health/startup"
    assert service["healthCheckPath"] in routes()


@ALL
def test_render_kills_when_our_settings_think_that_it_does(path: str) -> None:
    (service,) = BLUEPRINTS[path]["services"]
    settings = Settings()
    assert service["maxShutdownDelaySeconds"] * 1000 == settings.shutdown_limit_ms > settings.graceful_timeout_ms


def test_the_disk_is_where_the_state_is_so_that_it_counts_as_durable(tmp_path: Path) -> None:
    found = variables(DISK)
    mount = DISK["services"][0]["disk"]["mountPath"]
    assert found["STATE_DIR"] == mount
    assert found["LOG_DIR"].startswith(f"{mount}/")
    # A mount of its own, as /proc is on each machine of these tests, counts; a folder within one does not.
    assert Settings(render=True, state_dir=Path("/proc")).durable
    assert not Settings(render=True, state_dir=tmp_path).durable


def test_the_group_is_the_one_that_the_service_takes() -> None:
    named = {entry["fromGroup"] for entry in DISK["services"][0]["envVars"] if "fromGroup" in entry}
    assert named == {group["name"] for group in DISK["envVarGroups"]} == {"prodfix"}
