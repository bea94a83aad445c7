"""How the text of a variable becomes a setting's value; what is wrong raises ``ValueError``, without the value."""

from __future__ import annotations

import re
import warnings
from typing import Any

NO_URI = "is not a valid MongoDB connection string; user name and password must be percent-encoded"


def byte_size(value: Any) -> Any:
    """``10m``, ``512k``, ``1g`` or plain bytes, as winston's DailyRotateFile writes sizes."""
    match = re.fullmatch(r"(\d{1,12})\s*([kmg]?)b?", str(value).strip().lower())
    if match is None:
        raise ValueError("must be a size such as 10m, 512k or 1048576")
    return int(match[1]) * 1024 ** " kmg".index(match[2] or " ")


def names(value: Any) -> Any:
    """Names divided by commas: ``orders.status,orders.kind``."""
    if not isinstance(value, str):
        return value
    names = frozenset(name.strip() for name in value.split(",") if name.strip())
    if not all("." in name for name in names):
        raise ValueError("must be names such as orders.status, divided by commas")
    return names


LONGEST_URL, MOST_URLS = 2_000, 20
_URL = re.compile(r"[A-Za-z][A-Za-z0-9]{0,31}://\S+")


def alert_urls(text: str) -> tuple[str, ...]:
    """Apprise's URLs, divided by white space, or by a comma that another URL follows: other commas are part of a URL.

    Raises ``ValueError``, which names what is wrong by its number.
    """
    urls = [url.rstrip(",") for url in re.split(r"\s*,\s*(?=[A-Za-z0-9]+://)|\s+", text.strip())]
    urls = [url for url in urls if url]
    if len(urls) > MOST_URLS:
        raise ValueError(f"names more than {MOST_URLS} URLs")
    for number, url in enumerate(urls, 1):
        if _URL.fullmatch(url) is None or len(url) > LONGEST_URL:
            raise ValueError(f"number {number} is not a URL of Apprise, such as mailtos://... or slack://...")
    return tuple(urls)


def web_address(value: Any) -> Any:
    """``https://www.example.org/app``: where people find the service. Nothing that only one of them may know is in it."""
    text = str(value).strip().rstrip("/")
    if text and re.fullmatch(r"(?i)https?://[^\s/?#@]+(?:/[^\s?#@]*)?", text) is None:
        raise ValueError("must be an address such as https://www.example.org, without user, query or fragment")
    return text


def switch(value: Any) -> Any:
    """``1``, ``yes`` and ``on`` as ``true``; what is neither on nor off stays what it is."""
    text = str(value).strip().lower()
    return {"1": "true", "yes": "true", "on": "true", "0": "false", "no": "false", "off": "false"}.get(text, text)


def level(value: Any) -> Any:
    """As people write it, and as the standard library calls ``warn``."""
    text = str(value).strip().lower()
    return "warn" if text == "warning" else text


def check_uri(uri: str) -> None:
    """Raise ``ValueError`` for what the driver would refuse, without any part of ``uri`` and without asking the DNS."""
    from pymongo.errors import PyMongoError
    from pymongo.uri_parser import parse_uri  # here: who has no URI needs no driver to read settings

    scheme, _, rest = uri.partition("://")
    srv = scheme == "mongodb+srv"
    if srv:  # read as the other scheme, which has no options for the look-up, nothing is resolved
        rest = re.sub(r"(?i)[&;]srv(?:ServiceName|MaxHosts)=[^&;]*", "", rest.replace("?", "?&", 1)).replace(
            "?&", "?", 1
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of an option that is not known the driver warns, when the client is made
            nodes = parse_uri(f"mongodb://{rest}", default_port=None, validate=True, warn=True)["nodelist"]
    except OSError:
        raise ValueError("names a file that cannot be read (tlsCAFile, tlsCertificateKeyFile or tlsCRLFile)") from None
    except (PyMongoError, ValueError):
        raise ValueError(NO_URI) from None
    if any(re.search(r"\s", host) for host, _ in nodes):
        raise ValueError(NO_URI)
    if srv and (len(nodes) > 1 or nodes[0][1] is not None):
        raise ValueError("must name one host, without a port, after mongodb+srv://")
