"""How the text of a variable becomes a setting's value; what is wrong raises ``ValueError``, without the value."""

from __future__ import annotations

import re
import warnings
from datetime import UTC, datetime
from typing import Any

_SRV = "mongodb+srv://"
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


def words(value: Any) -> Any:
    """Words divided by commas or white space."""
    return frozenset(re.split(r"[,\s]+", value.strip())) - {""} if isinstance(value, str) else value


SIGNALS = frozenset({"traces", "logs", "metrics"})


def signals(value: Any) -> Any:
    """OpenTelemetry's signals, divided by commas or white space: ``traces,logs``; ``off`` for none, ``all`` for each."""
    if not isinstance(value, str):
        return value
    text = value.strip().lower()
    found = {"off": frozenset[str](), "false": frozenset[str](), "all": SIGNALS}.get(text, words(text))
    if not found <= SIGNALS:
        raise ValueError("must be traces, logs or metrics, divided by commas, or off, or all")
    return found


def pem(value: Any) -> Any:
    """A PEM text, whose line ends may be written as ``\\n``, as many hosts' forms have one line only."""
    return value.replace("\\n", "\n").strip() if isinstance(value, str) else value


def moment(value: Any) -> Any:
    """A moment in UTC: ISO 8601 (``2026-11-26T12:00:00Z``), or seconds since 1970, as in a token."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    try:
        if re.fullmatch(
            "[0-9]{10}", text
        ):  # from 2001 to 2286: a shorter number is a date, or no moment that anybody means
            return datetime.fromtimestamp(int(text), UTC)
        found = datetime.fromisoformat(text)
    except (ValueError, OverflowError, OSError):
        raise ValueError("must be a moment such as 2026-11-26T12:00:00Z, or seconds since 1970") from None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def rate(text: str) -> str:
    """``300/minute``, as the package limits writes them."""
    if (
        re.fullmatch(r"[1-9]\d{0,8}\s*(?:/|per)\s*(?:[1-9]\d{0,4}\s*)?(?:second|minute|hour|day)s?", text.strip())
        is None
    ):
        raise ValueError("must be a rate such as 300/minute or 10/hour")
    return text.strip()


SHORTEST_TOKEN = 32  # characters


def bearer_token(secret: Any) -> Any:
    """A token that a header can carry (RFC 6750 section 2.1), and that nobody guesses; nothing for an empty one."""
    text = secret.get_secret_value().strip() if secret is not None else ""
    if not text:
        return None
    if re.fullmatch(r"[A-Za-z0-9._~+/-]+=*", text) is None:
        raise ValueError("may have letters, digits and -._~+/ only, as a header carries it")
    if len(text) < SHORTEST_TOKEN or len(set(text)) < SHORTEST_TOKEN // 4:
        raise ValueError(
            f"must have {SHORTEST_TOKEN} random characters at least; make one with: python3 -c 'import secrets;"
            " print(secrets.token_urlsafe(32))'"
        )
    return type(secret)(text)


SHORTEST_HOOK_SECRET = 16  # characters


def hook_secret(secret: Any) -> Any:
    """What signs web hooks: a secret that nobody guesses; nothing for an empty one."""
    text = secret.get_secret_value().strip() if secret is not None else ""
    if not text:
        return None
    if len(text) < SHORTEST_HOOK_SECRET:
        raise ValueError(f"must have {SHORTEST_HOOK_SECRET} characters at least")
    return type(secret)(text)


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
            raise ValueError(
                f"number {number} is not a URL of Apprise, such as mailtos://... or slack://...,"
                " and none of hooks://..., pagerduty://... and opsgenie://..."
            )
    return tuple(urls)


def web_address(value: Any) -> Any:
    """``https://www.example.org/app``: where people find the service. Nothing that only one of them may know is in it."""
    text = str(value).strip().rstrip("/")
    if text and re.fullmatch(r"(?i)https?://[^\s/?#@]+(?:/[^\s?#@]*)?", text) is None:
        raise ValueError("must be an address such as https://www.example.org, without user, query or fragment")
    return text


def trace_template(text: str) -> str:
    """``https://traces.example.org/trace/{traceId}``: where the trace of a request is shown. The ID stands anywhere behind the
    host, which has no user before it: the page shows the address."""
    text = text.strip()
    if text and re.fullmatch(r"(?i)https?://[^\s/?#@{}]+/[^\s{}]*\{traceId\}[^\s{}]*", text) is None:
        raise ValueError("must be an address such as https://traces.example.org/trace/{traceId}")
    return text


def switch(value: Any) -> Any:
    """``1``, ``yes`` and ``on`` as ``true``; what is neither on nor off stays what it is."""
    text = str(value).strip().lower()
    return {"1": "true", "yes": "true", "on": "true", "0": "false", "no": "false", "off": "false"}.get(text, text)


def lowered(value: Any) -> Any:
    """As people write it."""
    return value.strip().lower() if isinstance(value, str) else value


def level(value: Any) -> Any:
    """As people write it, and as the standard library calls ``warn``."""
    text = str(value).strip().lower()
    return "warn" if text == "warning" else text


def check_uri(uri: str) -> None:
    """Raise ``ValueError`` for what the driver would refuse, without any part of ``uri`` and without asking the DNS."""
    from pymongo.errors import PyMongoError

    try:
        nodes = parsed_uri(uri)["nodelist"]
    except OSError:
        raise ValueError("names a file that cannot be read (tlsCAFile, tlsCertificateKeyFile or tlsCRLFile)") from None
    except (PyMongoError, ValueError):
        raise ValueError(NO_URI) from None
    if any(re.search(r"\s", host) for host, _ in nodes):
        raise ValueError(NO_URI)
    if uri.startswith(_SRV) and (len(nodes) > 1 or nodes[0][1] is not None):
        raise ValueError("must name one host, without a port, after mongodb+srv://")


def parsed_uri(uri: str) -> dict[str, Any]:
    """What the driver reads in ``uri`` (pymongo.uri_parser.parse_uri), without asking the DNS. Raises what the driver says."""
    from pymongo.uri_parser import parse_uri  # here: who has no URI needs no driver to read settings

    _, _, rest = uri.partition("://")
    if uri.startswith(_SRV):  # read as the other scheme, which has no options for the look-up, nothing is resolved
        rest = re.sub(r"(?i)[&;]srv(?:ServiceName|MaxHosts)=[^&;]*", "", rest.replace("?", "?&", 1)).replace(
            "?&", "?", 1
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of an option that is not known the driver warns, when the client is made
        parsed: dict[str, Any] = parse_uri(f"mongodb://{rest}", default_port=None, validate=True, warn=True)
    return parsed


def check_public_key(algorithm: str, text: str) -> None:
    """Raise ``ValueError`` for what is no public key of that algorithm."""
    from jwt.algorithms import get_default_algorithms

    method = get_default_algorithms().get(algorithm)
    if method is None:
        raise ValueError(f"JWT_ALGORITHM={algorithm} needs the package cryptography: pip install cryptography")
    if "PRIVATE KEY" in text:
        raise ValueError("is a private key, which belongs to the issuer alone: give its public one")
    try:
        method.prepare_key(text)
    except Exception:  # noqa: BLE001 - PyJWT and cryptography have many, and some hold a piece of the text
        raise ValueError(f"is no public key for {algorithm}, in PEM: -----BEGIN PUBLIC KEY----- ...") from None
