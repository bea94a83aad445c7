"""An application's own calls to the outside: who could not be reached, broke off, or was too slow.

None of it says anything of the database. Who answered with an error has answered: that is for the application to judge, and
without its judgement a defect, as is a call that could not be made at all.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from typing import Any

from prodfix.classification import by_name
from prodfix.classification.by_name import Name
from prodfix.classification.classifications import (
    INTERNAL_ERROR,
    NETWORK_FAILED,
    NETWORK_REFUSED,
    NETWORK_TIMED_OUT,
    Classification,
)
from prodfix.classification.error_types import AWAY

_FAILED = """
requests: ConnectionError ChunkedEncodingError ContentDecodingError
urllib3: NewConnectionError NameResolutionError ProtocolError IncompleteRead InvalidChunkLength PoolError ProxyError DecodeError
urllib: ContentTooShortError
http: HTTPException
httpx: RequestError
httpx2: RequestError
httpcore: NetworkError RemoteProtocolError ProxyError
httpcore2: NetworkError RemoteProtocolError ProxyError
aiohttp: ClientConnectionError ClientPayloadError ClientHttpProxyError HttpProcessingError
botocore: ConnectionError HTTPClientError IncompleteReadError
s3transfer: RetriesExceededError
redis: ConnectionError ClusterDownError InvalidResponse
smtplib: SMTPServerDisconnected SMTPConnectError
paramiko: SSHException NoValidConnectionsError
websockets: ConnectionClosed InvalidMessage ProxyError
websocket: WebSocketConnectionClosedException WebSocketAddressException WebSocketProxyException
kafka: KafkaConnectionError NoBrokersAvailable NodeNotReadyError
pika: AMQPConnectionError AMQPConnectorException
amqp: RecoverableConnectionError
kombu: OperationalError
elastic_transport: ConnectionError SniffingError
elasticsearch: ConnectionError
opensearchpy: ConnectionError
pymemcache: MemcacheUnexpectedCloseError
google: ServiceUnavailable TransportError
azure: ServiceRequestError ServiceResponseError
stripe: APIConnectionError
openai: APIConnectionError
anthropic: APIConnectionError
httplib2: ServerNotFoundError ProxiesUnavailableError
"""
_TIMED_OUT = """
requests: Timeout ConnectTimeout
urllib3: TimeoutError
httpx: TimeoutException
httpx2: TimeoutException
httpcore: TimeoutException
httpcore2: TimeoutException
aiohttp: ServerTimeoutError
botocore: ConnectTimeoutError ReadTimeoutError
redis: TimeoutError
grpc: FutureTimeoutError
aiosmtplib: SMTPTimeoutError
websocket: WebSocketTimeoutException
kafka: KafkaTimeoutError RequestTimedOutError
pika: AMQPHeartbeatTimeout ConnectionBlockedTimeout AMQPConnectorStackTimeout
celery: TimeoutError
elastic_transport: ConnectionTimeout
elasticsearch: ConnectionTimeout
opensearchpy: ConnectionTimeout
google: GatewayTimeout RetryError TimeoutError
azure: ServiceRequestTimeoutError ServiceResponseTimeoutError
openai: APITimeoutError
anthropic: APITimeoutError
"""
# A certificate that is not accepted: another try meets the same one.
_REFUSED = """
requests: SSLError
urllib3: SSLError
aiohttp: ClientConnectorCertificateError ServerFingerprintMismatch
botocore: SSLError
elastic_transport: TlsError
elasticsearch: SSLError
opensearchpy: SSLError
"""
# Children of those above that are something else: a call that was wrong, or an answer.
_DEFECTS = """
urllib3: HostChangedError
urllib: HTTPError
http: ImproperConnectionState InvalidURL NotConnected UnimplementedFileMode
httpx: UnsupportedProtocol LocalProtocolError TooManyRedirects
httpx2: UnsupportedProtocol LocalProtocolError TooManyRedirects
redis: AuthenticationError AuthorizationError
paramiko: AuthenticationException BadHostKeyException ConfigParseError CouldNotCanonicalize IncompatiblePeer
pika: AuthenticationError ProbableAuthenticationError ProbableAccessDeniedError ConnectionClosedByClient ConnectionWrongStateError
"""

Rule = Callable[[Any], Classification]


def _rows(text: str, row: Classification) -> Iterator[tuple[Name, Classification]]:
    for line in text.strip().splitlines():
        package, _, names = line.partition(":")
        yield from (((package, name), row) for name in names.split())


ROWS: dict[Name, Classification] = dict(
    [
        *_rows(_FAILED, NETWORK_FAILED),
        *_rows(_TIMED_OUT, NETWORK_TIMED_OUT),
        *_rows(_REFUSED, NETWORK_REFUSED),
        *_rows(_DEFECTS, INTERNAL_ERROR),
    ]
)
_GRPC = {"UNAVAILABLE": NETWORK_FAILED, "DEADLINE_EXCEEDED": NETWORK_TIMED_OUT}
_CURL_TIMED_OUT, _CURL_FAILED = 28, frozenset({5, 6, 7, 18, 35, 52, 55, 56, 92})
_SMTP_NOT_AVAILABLE = 421  # RFC 5321, 4.2.2: the server is closing
_NO_CALL = ("unknown url type", "no host given", "unknown proxy")


def _reason(error: Any) -> Classification:
    """urllib's ``URLError`` and urllib3's ``MaxRetryError`` hold what it was, or say it in words."""
    reason = getattr(error, "reason", None)
    if isinstance(reason, BaseException):
        return failure(reason) or INTERNAL_ERROR
    return INTERNAL_ERROR if str(reason).startswith(_NO_CALL) else NETWORK_FAILED


def _by_status(error: Any) -> Classification:
    """gRPC has one class for all that a call can end with, and its status in ``code()``."""
    name = str(getattr(error.code(), "name", "")) if callable(getattr(error, "code", None)) else ""
    return _GRPC.get(name, INTERNAL_ERROR)


def _by_reply(error: Any) -> Classification:
    return NETWORK_FAILED if getattr(error, "smtp_code", None) == _SMTP_NOT_AVAILABLE else INTERNAL_ERROR


def _by_curl(error: Any) -> Classification:
    number = error.args[0] if error.args else None
    if number == _CURL_TIMED_OUT:
        return NETWORK_TIMED_OUT
    return NETWORK_FAILED if number in _CURL_FAILED else INTERNAL_ERROR


RULES: dict[Name, Rule] = {
    ("urllib", "URLError"): _reason,
    ("urllib3", "MaxRetryError"): _reason,
    ("grpc", "RpcError"): _by_status,
    ("smtplib", "SMTPResponseException"): _by_reply,
    ("pycurl", "error"): _by_curl,
}
NOTES: dict[Name, str] = {
    ("urllib", "URLError"): "what it holds: network, timeout, or a defect",
    ("urllib3", "MaxRetryError"): "what it holds: network, timeout, or a defect",
    ("grpc", "RpcError"): "by its status: UNAVAILABLE is network, DEADLINE_EXCEEDED timeout, else a defect",
    ("smtplib", "SMTPResponseException"): "network if the server is closing (421), else a defect",
    ("pycurl", "error"): "by its number: network, timeout, or a defect",
}
_TABLE: dict[Name, Classification | Rule] = {**ROWS, **RULES}
_PLAIN = (ConnectionError, TimeoutError, socket.gaierror, socket.herror, ssl.SSLError)


def named(error: BaseException) -> Classification | None:
    """The row of an error of a library for calls to the outside; ``None`` if it is none."""
    row = by_name.found(_TABLE, error)
    if row is None or isinstance(row, Classification):
        return row
    try:
        return row(error)
    except Exception:  # noqa: BLE001 - another version's: what it is, is not known
        return INTERNAL_ERROR


def failure(error: BaseException) -> Classification | None:
    """The row of a call that failed on its way, also by what a socket raised itself; ``None`` for all else."""
    row = named(error)
    if row is None and isinstance(error, _PLAIN):
        row = NETWORK_REFUSED if isinstance(error, ssl.SSLCertVerificationError) else NETWORK_FAILED
    elif row is None and isinstance(error, OSError) and error.errno in AWAY:
        row = NETWORK_FAILED
    return row if row is not INTERNAL_ERROR else None
