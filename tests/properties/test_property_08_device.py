from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from prodfix import redact_text
from prodfix.request.devices import quick_device
from tests.properties.site import Site
from tests.properties.strategies import (
    driver_errors,
    errors,
    headers,
    known_agents,
    own_errors,
    python_errors,
    user_agents,
)

stored = errors(driver_errors, own_errors, python_errors)


@given(error=stored, agent=user_agents, version=headers, hint=st.sampled_from(["?0", "?1", "", "junk"]))
def test_every_error_names_the_client(site: Site, error: Exception, agent: str, version: str, hint: str) -> None:
    """For any error, the error log should include client user agent and device type (mobile/desktop).

    And ``unknown``, which is what a script or a bot is. The user agent is cut at 256 characters; a native application
    tells its version in ``X-App-Version``; what is no version, and what is a secret, is not kept.

    Feature: production-deployment-fix, Property 8
    """
    site.clear()
    site.fail(error, headers={"User-Agent": agent, "X-App-Version": version, "Sec-CH-UA-Mobile": hint})
    [entry] = site.errors()
    assert entry["context"]["userAgent"] == redact_text(agent[:256])
    accepted = re.fullmatch(r"[A-Za-z0-9.+_()-]{1,24}", version)
    assert entry["context"]["appVersion"] == (version if accepted else None)
    assert entry["context"]["deviceType"] in ("mobile", "desktop", "unknown")
    if hint == "?1" and quick_device(agent, "") != "unknown":  # a bot stays one, whatever it claims
        assert entry["context"]["deviceType"] == "mobile"


@given(error=stored, known=known_agents)
def test_the_device_is_the_right_one(site: Site, error: Exception, known: tuple[str, str]) -> None:
    """The control of "includes": known devices, in the log and in the statistics.

    Feature: production-deployment-fix, Property 8
    """
    agent, device = known
    site.clear()
    before = site.services.requests.statistics.read("1h").statistics().to_json()["errorsByDevice"].get(device, 0)
    site.fail(error, headers={"User-Agent": agent})
    assert [entry["context"]["deviceType"] for entry in site.errors()] == [device]
    assert site.services.requests.statistics.read("1h").statistics().to_json()["errorsByDevice"][device] == before + 1


@given(error=stored, known=known_agents, platform=st.sampled_from(["Android", "iOS", "Windows", "", "junk"]))
def test_a_tablet_is_known_by_its_platform(site: Site, error: Exception, known: tuple[str, str], platform: str) -> None:
    """A tablet's browser says that it is not mobile, and on which platform it runs. A bot stays one, whatever it claims.

    Feature: production-deployment-fix, Property 8
    """
    agent, device = known
    site.clear()
    hints = {"Sec-CH-UA-Mobile": "?0", "Sec-CH-UA-Platform": f'"{platform}"'}
    site.fail(error, headers={"User-Agent": agent, **hints})
    machine = device == "unknown" and agent != ""
    expected = "mobile" if platform in ("Android", "iOS") and not machine else device
    assert [entry["context"]["deviceType"] for entry in site.errors()] == [expected]
