"""An application's own calls: by package and name, with stand-ins whose families are those of the real classes.

The families were read from requests 2.34, urllib3 2, httpx 0.28, aiohttp 3.14, botocore 1.44, redis 8 and grpcio 1.85.
"""

from __future__ import annotations

import errno
import http.client
import smtplib
import socket
import ssl
import urllib.error
from email.message import Message
from itertools import pairwise
from typing import Any

import pytest
from pymongo import errors as mongo

from prodfix import classify
from prodfix.classification import outbound
from prodfix.classification.classifications import (
    INTERNAL_ERROR,
    NETWORK_FAILED,
    NETWORK_REFUSED,
    NETWORK_TIMED_OUT,
    Classification,
)
from prodfix.classification.classifier import Classifier
from prodfix.classification.table import entries

FAILED, SLOW, REFUSED, DEFECT = NETWORK_FAILED, NETWORK_TIMED_OUT, NETWORK_REFUSED, INTERNAL_ERROR


def family(module: str, *names: str, root: type[Exception] = Exception, **attributes: Any) -> type[Exception]:
    """A class of ``module`` below others of it, the farthest first, all of them below ``root``."""
    kind = root
    for name in names:
        kind = type(name, (kind,), {"__module__": module, **attributes})
    return kind


def both(module: str, name: str, *parents: type[Exception]) -> type[Exception]:
    return type(name, parents, {"__module__": module})


REQUESTS = family("requests.exceptions", "RequestException", root=OSError)
LOST, LATE = (family("requests.exceptions", name, root=REQUESTS) for name in ("ConnectionError", "Timeout"))
URLLIB3 = family("urllib3.exceptions", "HTTPError")
LATE3 = family("urllib3.exceptions", "TimeoutError", root=URLLIB3)
ASKED3 = family("urllib3.exceptions", "PoolError", "RequestError", root=URLLIB3)
HTTPX = family("httpx", "HTTPError", "RequestError", "TransportError")
AIOHTTP = family("aiohttp.client_exceptions", "ClientError")
LOST_AIO = family("aiohttp.client_exceptions", "ClientConnectionError", root=AIOHTTP)
BOTO = family("botocore.exceptions", "BotoCoreError")
REDIS = family("redis.exceptions", "RedisError")

KINDS: list[tuple[type[Exception], Classification]] = [
    (LOST, FAILED),
    (family("requests.exceptions", "ProxyError", root=LOST), FAILED),
    (family("requests.exceptions", "ChunkedEncodingError", root=REQUESTS), FAILED),
    (family("requests.exceptions", "ReadTimeout", root=LATE), SLOW),
    (both("requests.exceptions", "ConnectTimeout", LOST, LATE), SLOW),
    (family("requests.exceptions", "SSLError", root=LOST), REFUSED),
    (family("requests.exceptions", "HTTPError", root=REQUESTS), DEFECT),
    (family("requests.exceptions", "MissingSchema", root=REQUESTS), DEFECT),
    (family("requests.exceptions", "TooManyRedirects", root=REQUESTS), DEFECT),
    (family("requests.exceptions", "RetryError", root=REQUESTS), DEFECT),
    (both("urllib3.exceptions", "ReadTimeoutError", LATE3, ASKED3), SLOW),
    (family("urllib3.exceptions", "ConnectTimeoutError", root=LATE3), SLOW),
    (family("urllib3.exceptions", "ConnectTimeoutError", "NewConnectionError", root=LATE3), FAILED),
    (family("urllib3.exceptions", "NewConnectionError", "NameResolutionError", root=LATE3), FAILED),
    (family("urllib3.exceptions", "ProtocolError", root=URLLIB3), FAILED),
    (family("urllib3.exceptions", "SSLError", root=URLLIB3), REFUSED),
    (family("urllib3.exceptions", "LocationParseError", root=URLLIB3), DEFECT),
    (family("httpx", "NetworkError", "ConnectError", root=HTTPX), FAILED),
    (family("httpx", "ProtocolError", "RemoteProtocolError", root=HTTPX), FAILED),
    (family("httpx", "ProtocolError", "LocalProtocolError", root=HTTPX), DEFECT),
    (family("httpx", "TimeoutException", "PoolTimeout", root=HTTPX), SLOW),
    (family("httpx", "UnsupportedProtocol", root=HTTPX), DEFECT),
    (family("httpx", "HTTPError", "HTTPStatusError"), DEFECT),
    (family("httpcore", "NetworkError", "ReadError"), FAILED),
    (family("httpcore", "TimeoutException", "ReadTimeout"), SLOW),
    (family("aiohttp.client_exceptions", "ServerConnectionError", "ServerDisconnectedError", root=LOST_AIO), FAILED),
    (both("aiohttp.client_exceptions", "ServerTimeoutError", LOST_AIO, TimeoutError), SLOW),
    (family("aiohttp.client_exceptions", "ClientConnectorCertificateError", root=LOST_AIO), REFUSED),
    (family("aiohttp.client_exceptions", "ClientPayloadError", root=AIOHTTP), FAILED),
    (family("aiohttp.client_exceptions", "ClientResponseError", root=AIOHTTP), DEFECT),
    (family("botocore.exceptions", "ConnectionError", "EndpointConnectionError", root=BOTO), FAILED),
    (family("botocore.exceptions", "ConnectionError", "ConnectTimeoutError", root=BOTO), SLOW),
    (family("botocore.exceptions", "HTTPClientError", "ReadTimeoutError", root=BOTO), SLOW),
    (family("botocore.exceptions", "HTTPClientError", "ConnectionClosedError", root=BOTO), FAILED),
    (family("botocore.exceptions", "ConnectionError", "SSLError", root=BOTO), REFUSED),
    (family("botocore.exceptions", "ClientError"), DEFECT),
    (family("botocore.exceptions", "NoCredentialsError", root=BOTO), DEFECT),
    (family("redis.exceptions", "ConnectionError", root=REDIS), FAILED),
    (family("redis.exceptions", "ConnectionError", "BusyLoadingError", root=REDIS), FAILED),
    (family("redis.exceptions", "ConnectionError", "AuthenticationError", root=REDIS), DEFECT),
    (family("redis.exceptions", "TimeoutError", root=REDIS), SLOW),
    (family("redis.exceptions", "ResponseError", root=REDIS), DEFECT),
    (family("kombu.exceptions", "KombuError", "OperationalError"), FAILED),
    (family("amqp.exceptions", "ConnectionError", "RecoverableConnectionError"), FAILED),
    (family("celery.exceptions", "CeleryError", "TimeoutError"), SLOW),
    (family("pika.exceptions", "AMQPError", "AMQPConnectionError", "ConnectionClosed"), FAILED),
    (family("pika.exceptions", "AMQPConnectionError", "ProbableAuthenticationError"), DEFECT),
    (family("kafka.errors", "KafkaError", "KafkaTimeoutError"), SLOW),
    (family("elastic_transport", "TransportError", "ConnectionTimeout"), SLOW),
    (family("elastic_transport", "TransportError", "ConnectionError"), FAILED),
    (family("elastic_transport", "ConnectionError", "TlsError"), REFUSED),
    (family("opensearchpy.exceptions", "ConnectionError", "ConnectionTimeout"), SLOW),
    (family("paramiko.ssh_exception", "SSHException"), FAILED),
    (family("paramiko.ssh_exception", "SSHException", "AuthenticationException"), DEFECT),
    (family("websocket._exceptions", "WebSocketException", "WebSocketTimeoutException"), SLOW),
    (family("google.api_core.exceptions", "ServerError", "ServiceUnavailable"), FAILED),
    (family("google.api_core.exceptions", "ServerError", "GatewayTimeout", "DeadlineExceeded"), SLOW),
    (family("google.auth.exceptions", "GoogleAuthError", "TransportError"), FAILED),
    (family("azure.core.exceptions", "ServiceResponseError", "ServiceResponseTimeoutError"), SLOW),
    (family("openai", "APIError", "APIConnectionError", "APITimeoutError"), SLOW),
    (family("anthropic", "APIError", "APIConnectionError"), FAILED),
    (family("stripe._error", "StripeError", "APIConnectionError"), FAILED),
    (family("stripe._error", "StripeError", "CardError"), DEFECT),
    (family("aiosmtplib.errors", "SMTPTimeoutError", root=TimeoutError), SLOW),
    (family("pymemcache.exceptions", "MemcacheUnexpectedCloseError"), FAILED),
    # An application's class below theirs, and a class of the same name that is nobody's.
    (type("Own", (LOST,), {"__module__": "shop.payments"}), FAILED),
    (family("shop.payments", "ConnectTimeout"), DEFECT),
]


@pytest.mark.parametrize(("kind", "row"), KINDS, ids=lambda value: getattr(value, "__module__", ""))
def test_a_call_that_failed_on_its_way_is_the_networks_and_never_the_databases(
    kind: type[Exception], row: Classification
) -> None:
    meaning = classify(kind("canary.example:443 refused"))
    assert meaning == row
    assert not meaning.of_database
    assert "canary" not in repr(meaning)


def test_a_timeout_of_the_database_is_the_databases() -> None:
    # The control of the above: the category is the same.
    slow = classify(mongo.NetworkTimeout("x"))
    assert (slow.category, slow.of_database) == (NETWORK_TIMED_OUT.category, True)


def test_what_the_readme_promises_of_them() -> None:
    for row in (NETWORK_FAILED, NETWORK_TIMED_OUT):
        assert (row.status, row.code, row.transient, row.retryable, row.outcome) == (
            500,
            "INTERNAL_ERROR",
            True,
            False,
            "unknown",
        )
    assert (NETWORK_FAILED.category, NETWORK_TIMED_OUT.category) == ("network", "timeout")
    assert (NETWORK_REFUSED.category, NETWORK_REFUSED.transient) == ("network", False)


# ---- classes that hold what it was, or say it by a number


def with_code(name: str | None) -> Exception:
    kind = family("grpc", "RpcError")
    inner = both("grpc._channel", "_InactiveRpcError", kind)("x")
    inner.code = lambda: type("StatusCode", (), {"name": name})  # type: ignore[attr-defined]
    return inner


def retries(reason: Any) -> Exception:
    return family("urllib3.exceptions", "MaxRetryError", root=ASKED3, reason=reason)("x")


def http_error(code: int) -> Exception:
    return urllib.error.HTTPError("http://canary", code, "x", Message(), None)


HELD = [
    (with_code("UNAVAILABLE"), FAILED),
    (with_code("DEADLINE_EXCEEDED"), SLOW),
    *((with_code(name), DEFECT) for name in ("NOT_FOUND", "INTERNAL", "UNAUTHENTICATED", "CANCELLED", None)),
    (family("grpc", "RpcError")("x"), DEFECT),
    (family("grpc", "FutureTimeoutError")("x"), SLOW),
    (retries(both("urllib3.exceptions", "ReadTimeoutError", LATE3, ASKED3)("x")), SLOW),
    (retries(family("urllib3.exceptions", "NewConnectionError", root=LATE3)("x")), FAILED),
    (retries(family("urllib3.exceptions", "ResponseError", root=URLLIB3)("too many 503 error responses")), DEFECT),
    (urllib.error.URLError(ConnectionRefusedError()), FAILED),
    (urllib.error.URLError(socket.gaierror(-2, "x")), FAILED),
    (urllib.error.URLError(OSError(errno.EHOSTUNREACH, "x")), FAILED),
    (urllib.error.URLError(ssl.SSLCertVerificationError()), REFUSED),
    (urllib.error.URLError("ftp error: gone"), FAILED),
    (urllib.error.URLError("unknown url type: nope"), DEFECT),
    (urllib.error.URLError(FileNotFoundError()), DEFECT),
    (urllib.error.ContentTooShortError("x", None), FAILED),  # type: ignore[arg-type]
    *((http_error(code), DEFECT) for code in (404, 429, 500, 503)),
    (http.client.RemoteDisconnected("x"), FAILED),
    (http.client.BadStatusLine("x"), FAILED),
    (http.client.IncompleteRead(b"x"), FAILED),
    (http.client.CannotSendRequest(), DEFECT),
    (http.client.InvalidURL("x"), DEFECT),
    (smtplib.SMTPServerDisconnected("x"), FAILED),
    (smtplib.SMTPConnectError(554, b"x"), FAILED),
    (smtplib.SMTPDataError(421, b"x"), FAILED),
    (smtplib.SMTPDataError(550, b"x"), DEFECT),
    (smtplib.SMTPAuthenticationError(535, b"x"), DEFECT),
    (smtplib.SMTPRecipientsRefused({}), DEFECT),
    (family("pycurl", "error")(28, "x"), SLOW),
    (family("pycurl", "error")(7, "x"), FAILED),
    (family("pycurl", "error")(1, "x"), DEFECT),
    (family("pycurl", "error")(), DEFECT),
]


@pytest.mark.parametrize(("error", "row"), HELD, ids=lambda value: repr(value)[:60])
def test_a_class_for_all_that_can_happen_is_looked_into(error: Exception, row: Classification) -> None:
    assert classify(error) == row


def test_an_error_of_another_version_that_cannot_be_looked_into_is_not_known() -> None:
    def code() -> Any:
        raise AttributeError("canary")

    error = family("grpc", "RpcError")("x")
    error.code = code  # type: ignore[attr-defined]
    assert classify(error) is INTERNAL_ERROR


# ---- what came from what


class PaymentFailed(Exception):
    """An application's own."""


def raised(*steps: tuple[Exception, bool]) -> Exception:
    """The last of the errors, each raised from the one before, or while that was handled."""
    for (earlier, _), (later, claimed) in pairwise(steps):
        later.__context__ = earlier
        if claimed:
            later.__cause__ = earlier
    return steps[-1][0]


def test_what_an_application_raises_from_it_is_it() -> None:
    assert classify(raised((LATE("x"), False), (PaymentFailed(), True))) == NETWORK_TIMED_OUT
    assert classify(raised((TimeoutError(), False), (PaymentFailed(), True))) == NETWORK_FAILED
    assert classify(raised((KeyError(), False), (PaymentFailed(), True))) is INTERNAL_ERROR  # the control


@pytest.mark.parametrize("error", [LOST("x"), LATE("x"), ConnectionRefusedError(), TimeoutError()], ids=repr)
def test_a_call_that_fails_while_the_drivers_error_is_handled_is_no_outage(error: Exception) -> None:
    lost = mongo.AutoReconnect("x")
    assert classify(raised((lost, False), (KeyError(), False))).of_database  # the control
    for found in (
        raised((lost, False), (error, False)),
        raised((lost, False), (error, False), (PaymentFailed(), True)),
    ):
        meaning = classify(found)
        assert meaning.category in ("network", "timeout")
        assert not meaning.of_database


def test_what_it_says_of_itself_wins_over_the_socket_below() -> None:
    slow = raised((TimeoutError(), False), (LATE("x"), True))
    assert classify(slow) == NETWORK_TIMED_OUT


def test_an_applications_row_wins() -> None:
    own = Classification(NETWORK_FAILED.category, 502, "UPSTREAM", "The shop's partner does not answer")
    classifier = Classifier({LOST: own})
    assert classifier.classify(family("requests.exceptions", "ProxyError", root=LOST)("x")) == own
    assert classifier.classify(LATE("x")) == NETWORK_TIMED_OUT


def test_each_name_has_one_row_and_stands_in_the_printed_table() -> None:
    texts = (outbound._FAILED, outbound._TIMED_OUT, outbound._REFUSED, outbound._DEFECTS)
    names = [name for text in texts for line in text.strip().splitlines() for name in line.partition(":")[2].split()]
    assert len(names) == len(outbound.ROWS)
    printed = {entry["key"]: entry for entry in entries(Classifier())}
    assert printed["requests.ConnectTimeout"]["category"] == "timeout"
    assert "UNAVAILABLE is network" in printed["grpc.RpcError"]["note"]
