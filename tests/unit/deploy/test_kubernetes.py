"""The manifests: by the schema of each kind in strict mode, with names that fit each other, our settings and our routes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import kubernetes_validate
import pytest
import yaml

from prodfix import Settings
from tests.support import REPOSITORY
from tests.support.deployment_facts import gunicorn_configuration, routes, unknown_settings
from tests.support.dockerfile import stages

FOLDER = REPOSITORY / "deploy" / "kubernetes"
FILES = sorted(FOLDER.rglob("*.yaml"))
RESOURCES = {
    (resource["kind"], resource["metadata"].get("name", resource["metadata"].get("generateName"))): resource
    for file in FILES
    for resource in yaml.safe_load_all(file.read_text())
}
OLDEST, NEWEST = "1.30.0", kubernetes_validate.latest_version()
"""From which release on they hold: that is where `sleep` in preStop is there without a switch. docs/containers.md says so."""
IMAGE = stages((REPOSITORY / "Dockerfile").read_text())[-1]
SET, JOB = RESOURCES["StatefulSet", "prodfix"], RESOURCES["Job", "prodfix-indexes-"]

Change = Callable[[dict[str, Any]], Any]


def pod(resource: dict[str, Any] = SET) -> dict[str, Any]:
    found: dict[str, Any] = resource["spec"]["template"]["spec"]
    return found


def container(resource: dict[str, Any] = SET) -> dict[str, Any]:
    (found,) = pod(resource)["containers"]
    return dict(found)


def changed(change: Change) -> dict[str, Any]:
    resource = copy.deepcopy(SET)
    change(resource)
    return resource


def valid(resource: dict[str, Any], version: str) -> bool:
    try:
        kubernetes_validate.validate(resource, version, strict=True)
    except kubernetes_validate.ValidationError:
        return False
    return True


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("key", RESOURCES, ids="-".join)
def test_each_resource_is_what_its_kind_is(key: tuple[str, str], version: str) -> None:
    assert valid(RESOURCES[key], version)


@pytest.mark.parametrize(
    "change",
    [
        lambda one: one["spec"].update(replica=2),
        lambda one: one["spec"]["template"]["spec"].update(terminationGracePeriod=40),
        lambda one: one["spec"]["template"]["spec"]["containers"][0]["readinessProbe"].update(periodSecond=1),
        lambda one: one["spec"]["template"]["spec"]["containers"][0]["lifecycle"]["preStop"].update(sleep=5),
        lambda one: one["spec"].pop("selector"),
    ],
)
def test_the_control_a_wrong_key_or_type_is_found(change: Change) -> None:
    assert not valid(changed(change), NEWEST)


def test_before_the_oldest_release_a_key_is_not_known() -> None:
    assert not valid(SET, "1.28.0")


def wrong_paths(resource: dict[str, Any]) -> list[str]:
    """Those that probes ask for and that the application has not."""
    probes = {name: probe for name, probe in container(resource).items() if name.endswith("Probe")}
    assert len(probes) == 3
    return [path for probe in probes.values() if (path := probe["httpGet"]["path"]) not in routes()]


def test_the_probes_ask_what_is_there_and_none_restarts_a_pod_for_the_database() -> None:
    assert wrong_paths(SET) == []
    asked = {name: container()[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert {name: probe["path"] for name, probe in asked.items()} == {
        "startup": "/health/live",
        "liveness": "/health/live",
        "readiness": "/health/ready",
    }
    assert {probe["port"] for probe in asked.values()} == {"http"}


def test_the_control_a_path_that_is_not_there_is_found() -> None:
    wrong = changed(lambda one: container(one)["livenessProbe"]["httpGet"].update(path="/healthz"))
    assert "/healthz" in wrong_paths(wrong)


def longest(name: str) -> int:
    probe = container()[f"{name}Probe"]
    return int(probe["periodSeconds"] * probe["failureThreshold"])


def test_the_probes_come_after_what_mends_itself() -> None:
    """gunicorn replaces a worker that hangs; the restart of a pod, which ends all of them, is for what it cannot mend."""
    assert longest("liveness") > gunicorn_configuration()["timeout"]
    assert longest("startup") >= 60, "a cold start compiles nothing, but may share its processor"
    assert all(
        probe["timeoutSeconds"] <= probe["periodSeconds"] for name, probe in container().items() if "Probe" in name
    )


def given_to_end(resource: dict[str, Any]) -> int:
    """Milliseconds from SIGTERM to SIGKILL: what preStop takes is part of the grace period."""
    before = container(resource)["lifecycle"]["preStop"]["sleep"]["seconds"]
    return int(pod(resource)["terminationGracePeriodSeconds"] - before) * 1000


def test_the_grace_period_fits_what_a_worker_gives_its_requests() -> None:
    settings = Settings()
    assert given_to_end(SET) >= settings.shutdown_limit_ms > settings.graceful_timeout_ms
    assert gunicorn_configuration()["graceful_timeout"] * 1000 == settings.graceful_timeout_ms


def test_the_control_kubernetes_own_grace_period_would_not() -> None:
    assert given_to_end(changed(lambda one: pod(one).update(terminationGracePeriodSeconds=30))) < (
        Settings().shutdown_limit_ms
    )


def test_each_variable_is_a_setting_and_each_secret_is_in_the_example() -> None:
    entries = container()["env"]
    assert unknown_settings([entry["name"] for entry in entries]) == []
    assert unknown_settings(["DB_POOLSIZE"]) == ["DB_POOLSIZE"], "the control"
    values = {entry["name"].lower(): entry["value"] for entry in entries if "value" in entry}
    assert Settings(**values).durable
    secret = RESOURCES["Secret", "prodfix"]
    keys = [entry["valueFrom"]["secretKeyRef"] for entry in entries if "valueFrom" in entry]
    assert {key["name"] for key in keys} == {"prodfix"}
    assert {key["key"] for key in keys} == set(secret["stringData"])
    assert set(secret["stringData"].values()) == {""}, "names only"


def test_applying_the_folder_leaves_the_real_secret_alone() -> None:
    applied = [resource for file in FOLDER.glob("*.yaml") for resource in yaml.safe_load_all(file.read_text())]
    assert "Secret" not in {resource["kind"] for resource in applied}
    assert len(applied) == len(RESOURCES) - 2, "nor does it run the Job, which is a release's"


def test_user_port_and_volume_are_those_of_the_image() -> None:
    user, _, group = IMAGE.last("USER").text.partition(":")
    security = pod()["securityContext"]
    assert (security["runAsUser"], security["runAsGroup"], security["fsGroup"]) == (int(user), int(group), int(group))
    assert [str(port["containerPort"]) for port in container()["ports"]] == [IMAGE.last("EXPOSE").text]
    mounts = {mount["name"]: mount["mountPath"] for mount in container()["volumeMounts"]}
    (claim,) = SET["spec"]["volumeClaimTemplates"]
    assert mounts[claim["metadata"]["name"]] == IMAGE.environment["STATE_DIR"]
    assert set(mounts) == {claim["metadata"]["name"], *(volume["name"] for volume in pod()["volumes"])}


def test_a_disk_stays_with_its_pod_and_outlives_it() -> None:
    assert SET["spec"]["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Retain"}
    assert SET["spec"]["podManagementPolicy"] == "Parallel", "in an outage none is ready, and all must start"


def restricted(resource: dict[str, Any]) -> list[str]:
    """What the Pod Security Standard `restricted` demands and is not there.

    Source: kubernetes.io/docs/concepts/security/pod-security-standards.
    """
    security, own = pod(resource)["securityContext"], container(resource)["securityContext"]
    demanded = {
        "runAsNonRoot": security.get("runAsNonRoot") is True,
        "runAsUser": security.get("runAsUser") != 0,
        "seccompProfile": security.get("seccompProfile", {}).get("type") == "RuntimeDefault",
        "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation") is False,
        "capabilities": own.get("capabilities") == {"drop": ["ALL"]},
        "privileged": not own.get("privileged"),
        "volumes": all({*volume} <= {"name", "emptyDir"} for volume in pod(resource).get("volumes", [])),
        "host": not {"hostNetwork", "hostPID", "hostIPC"} & set(pod(resource)),
    }
    return [name for name, there in demanded.items() if not there]


def test_a_pod_is_restricted_and_can_write_its_volumes_only() -> None:
    assert (restricted(SET), restricted(JOB)) == ([], [])
    assert container()["securityContext"]["readOnlyRootFilesystem"] is True
    assert pod()["automountServiceAccountToken"] is False


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda one: pod(one)["securityContext"].pop("runAsNonRoot"), "runAsNonRoot"),
        (lambda one: container(one)["securityContext"].pop("capabilities"), "capabilities"),
        (lambda one: pod(one).update(hostNetwork=True), "host"),
        (lambda one: pod(one)["volumes"].append({"name": "x", "hostPath": {"path": "/"}}), "volumes"),
    ],
)
def test_the_control_what_a_restricted_namespace_refuses_is_found(change: Change, name: str) -> None:
    assert restricted(changed(change)) == [name]


def test_the_job_makes_indexes_with_the_image_and_the_secret_of_the_release() -> None:
    assert container(JOB)["image"] == container()["image"]
    assert container(JOB)["command"] == "flask --app wsgi prodfix indexes apply".split()
    secrets = [entry["valueFrom"]["secretKeyRef"] for entry in container(JOB)["env"]]
    assert {secret["name"] for secret in secrets} == {"prodfix"}
    assert {secret["key"] for secret in secrets} <= set(RESOURCES["Secret", "prodfix"]["stringData"])


def selectors() -> dict[str, dict[str, str]]:
    return {
        "set": SET["spec"]["selector"]["matchLabels"],
        "service": RESOURCES["Service", "prodfix"]["spec"]["selector"],
        "pods": RESOURCES["Service", "prodfix-pods"]["spec"]["selector"],
        "budget": RESOURCES["PodDisruptionBudget", "prodfix"]["spec"]["selector"]["matchLabels"],
        "policy": RESOURCES["NetworkPolicy", "prodfix"]["spec"]["podSelector"]["matchLabels"],
    }


def test_services_budget_and_policy_mean_the_pods_of_the_set() -> None:
    labels = SET["spec"]["template"]["metadata"]["labels"]
    assert {name: selector for name, selector in selectors().items() if not selector.items() <= labels.items()} == {}
    assert SET["spec"]["serviceName"] in {name for kind, name in RESOURCES if kind == "Service"}


def test_ports_go_by_a_name_that_the_container_has() -> None:
    names = {port["name"] for port in container()["ports"]}
    services = [resource for (kind, _), resource in RESOURCES.items() if kind == "Service"]
    asked = [port["targetPort"] for service in services for port in service["spec"]["ports"]]
    asked += [
        port["port"] for rule in RESOURCES["NetworkPolicy", "prodfix"]["spec"]["ingress"] for port in rule["ports"]
    ]
    assert set(asked) == names


def test_one_pod_stays_when_a_node_is_drained() -> None:
    budget = RESOURCES["PodDisruptionBudget", "prodfix"]["spec"]
    assert 0 < budget["maxUnavailable"] < SET["spec"]["replicas"]
