"""The table is complete: every exception of the libraries that an application here stands on has a row that somebody meant."""

from __future__ import annotations

import builtins
import importlib
import inspect
import pkgutil
import socket
import ssl
from collections.abc import Iterable
from typing import Any

import pytest

from prodfix.classification.classifications import INTERNAL_ERROR, Classification
from prodfix.classification.classifier import Classifier
from prodfix.classification.error_types import LABELS, RULES, TYPES
from prodfix.classification.foreign import KNOWN
from prodfix.classification.rows import LATER
from prodfix.classification.web_errors import NAMED, WEB_RULES, WEB_TYPES
from prodfix.errors import ErrorCategory, Severity

PACKAGES = (
    "pymongo",
    "gridfs",
    "bson",
    "werkzeug",
    "flask_jwt_extended",
    "jwt",
    "tenacity",
    "pydantic",
    "pydantic_core",
    "gunicorn.http",
)
# Modules of those packages that need a library which is not there, or that are another library's old self.
ELSEWHERE = (
    "pymongo.asynchronous",
    "pymongo.ocsp_support",
    "pymongo.pyopenssl_context",
    "gridfs.asynchronous",
    "tenacity.tornadoweb",
    "pydantic.v1",
    "pydantic.mypy",
)

# These mean what their parent means.
INHERIT = set(
    """
    pymongo.errors.AutoReconnect pymongo.errors.NotPrimaryError pymongo.errors.OperationFailure
    pymongo.errors.BulkWriteError pymongo.errors.ClientBulkWriteException pymongo.errors.CollectionInvalid
    pymongo.errors.CursorNotFound pymongo.errors.EncryptedCollectionError pymongo.errors.EncryptionError
    pymongo.errors.InvalidName pymongo.errors.InvalidOperation pymongo.errors.InvalidURI pymongo.errors.WriteError
    pymongo.errors._OperationCancelled
    gridfs.errors.GridFSError
    bson.errors.InvalidDocument bson.errors.InvalidId bson.errors.InvalidStringData
    flask_jwt_extended.exceptions.CSRFError flask_jwt_extended.exceptions.FreshTokenRequired
    flask_jwt_extended.exceptions.InvalidHeaderError flask_jwt_extended.exceptions.InvalidQueryParamError
    flask_jwt_extended.exceptions.JWTDecodeError flask_jwt_extended.exceptions.NoAuthorizationError
    flask_jwt_extended.exceptions.RevokedTokenError flask_jwt_extended.exceptions.UserClaimsVerificationError
    flask_jwt_extended.exceptions.UserLookupError flask_jwt_extended.exceptions.WrongTokenError
    jwt.exceptions.DecodeError jwt.exceptions.ExpiredSignatureError jwt.exceptions.ImmatureSignatureError
    jwt.exceptions.InvalidAlgorithmError jwt.exceptions.InvalidAudienceError jwt.exceptions.InvalidIssuedAtError
    jwt.exceptions.InvalidIssuerError jwt.exceptions.InvalidJTIError jwt.exceptions.InvalidSignatureError
    jwt.exceptions.InvalidSubjectError jwt.exceptions.MissingCryptographyError jwt.exceptions.MissingRequiredClaimError
    werkzeug.exceptions.BadGateway werkzeug.exceptions.BadHost werkzeug.exceptions.BadRequest
    werkzeug.exceptions.BadRequestKeyError werkzeug.exceptions.Conflict werkzeug.exceptions.ExpectationFailed
    werkzeug.exceptions.FailedDependency werkzeug.exceptions.Forbidden werkzeug.exceptions.GatewayTimeout
    werkzeug.exceptions.Gone werkzeug.exceptions.HTTPVersionNotSupported werkzeug.exceptions.ImATeapot
    werkzeug.exceptions.InternalServerError werkzeug.exceptions.LengthRequired werkzeug.exceptions.Locked
    werkzeug.exceptions.MethodNotAllowed werkzeug.exceptions.MisdirectedRequest werkzeug.exceptions.NotAcceptable
    werkzeug.exceptions.NotFound werkzeug.exceptions.NotImplemented werkzeug.exceptions.PreconditionFailed
    werkzeug.exceptions.PreconditionRequired werkzeug.exceptions.RequestEntityTooLarge
    werkzeug.exceptions.RequestHeaderFieldsTooLarge werkzeug.exceptions.RequestTimeout
    werkzeug.exceptions.RequestURITooLarge werkzeug.exceptions.RequestedRangeNotSatisfiable
    werkzeug.exceptions.SecurityError werkzeug.exceptions.ServiceUnavailable werkzeug.exceptions.TooManyRequests
    werkzeug.exceptions.Unauthorized werkzeug.exceptions.UnavailableForLegalReasons
    werkzeug.exceptions.UnprocessableEntity werkzeug.exceptions.UnsupportedMediaType werkzeug.exceptions._RetryAfter
    werkzeug.routing.exceptions.BuildError werkzeug.routing.exceptions.RequestAliasRedirect
    werkzeug.routing.exceptions.RequestPath werkzeug.routing.exceptions.RequestRedirect
    werkzeug.routing.exceptions.WebsocketMismatch
    gunicorn.http.errors.ChunkMissingTerminator gunicorn.http.errors.ExpectationFailed
    gunicorn.http.errors.ForbiddenProxyRequest gunicorn.http.errors.InvalidChunkExtension
    gunicorn.http.errors.InvalidChunkSize gunicorn.http.errors.InvalidH2CPreface
    gunicorn.http.errors.InvalidHTTPVersion gunicorn.http.errors.InvalidHeader gunicorn.http.errors.InvalidHeaderName
    gunicorn.http.errors.InvalidProxyHeader gunicorn.http.errors.InvalidProxyLine
    gunicorn.http.errors.InvalidRequestLine gunicorn.http.errors.InvalidRequestMethod
    gunicorn.http.errors.InvalidSchemeHeaders gunicorn.http.errors.LimitRequestHeaders
    gunicorn.http.errors.LimitRequestLine gunicorn.http.errors.ObsoleteFolding
    gunicorn.http.errors.UnsupportedTransferCoding
    BlockingIOError BrokenPipeError ChildProcessError ConnectionAbortedError ConnectionRefusedError ConnectionResetError
    FileExistsError FileNotFoundError InterruptedError IsADirectoryError NotADirectoryError PermissionError
    ProcessLookupError ssl.SSLEOFError ssl.SSLSyscallError ssl.SSLWantReadError ssl.SSLWantWriteError
    ssl.SSLZeroReturnError
    """.split()
)
# These have no row: they tell of a defect in the application's models or tests, and that is what INTERNAL_ERROR means.
DEFECTS = set(
    """
    pydantic._internal._discriminated_union.MissingDefinitionForUnionRef
    pydantic._internal._generate_schema.InvalidSchemaError
    pydantic.errors.PydanticForbiddenQualifier pydantic.errors.PydanticImportError
    pydantic.errors.PydanticInvalidForJsonSchema pydantic.errors.PydanticSchemaGenerationError
    pydantic.errors.PydanticUndefinedAnnotation pydantic.errors.PydanticUserError
    pydantic_core._pydantic_core.PydanticCustomError pydantic_core._pydantic_core.PydanticKnownError
    pydantic_core._pydantic_core.PydanticOmit pydantic_core._pydantic_core.PydanticSerializationUnexpectedValue
    pydantic_core._pydantic_core.PydanticUseDefault pydantic_core._pydantic_core._schema_gather.MissingDefinitionError
    werkzeug.test.ClientRedirectError
    """.split()
)


def name_of(kind: type[BaseException]) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def modules_of(package: str) -> Iterable[Any]:
    root = importlib.import_module(package)
    yield root
    for found in pkgutil.walk_packages(getattr(root, "__path__", []), package + ".", onerror=lambda name: None):
        if not found.name.startswith(ELSEWHERE) and not found.name.endswith("__main__"):
            yield importlib.import_module(found.name)


def walk() -> dict[str, type[BaseException]]:
    """Every exception class of the packages, and the OSErrors of sockets and files; warnings are none."""
    found: dict[str, type[BaseException]] = {}
    for package in PACKAGES:
        for module in modules_of(package):
            for kind in vars(module).values():
                if inspect.isclass(kind) and issubclass(kind, BaseException) and kind.__module__.startswith(package):
                    found[name_of(kind)] = kind
    for module in (builtins, socket, ssl):
        for kind in vars(module).values():
            if inspect.isclass(kind) and issubclass(kind, OSError):
                found[name_of(kind)] = kind
    return {name: kind for name, kind in found.items() if not issubclass(kind, Warning)}


@pytest.fixture(scope="module")
def walked() -> dict[str, type[BaseException]]:
    return walk()


def undecided(kinds: Iterable[type[BaseException]]) -> set[str]:
    """Classes without a row of their own that nobody let inherit."""
    rows = Classifier().rows
    own = {kind for kind in kinds if kind in rows or (kind.__module__, kind.__name__) in NAMED | LATER}
    return {name_of(kind) for kind in kinds if kind not in own} - INHERIT - DEFECTS


def test_every_exception_class_has_a_deliberate_row(walked: dict[str, type[BaseException]]) -> None:
    assert len(walked) > 160
    assert undecided(walked.values()) == set()


def test_each_class_that_is_known_by_name_is_there_and_has_its_row_once_it_is_met(
    walked: dict[str, type[BaseException]],
) -> None:
    rows = Classifier().rows
    for name, row in LATER.items():
        kind = walked[".".join(name)]  # a library that has renamed it fails here
        assert kind not in list(rows), "the control: it is not known yet"
        assert kind in rows
        assert rows[kind] is row
    impostor = type("ValidationError", (Exception,), {"__module__": "pydantic_core.elsewhere"})
    assert impostor not in rows, "the control: the name alone is not enough"


def test_a_row_of_an_application_for_a_class_that_is_known_by_name_is_the_one_that_counts() -> None:
    gone: Any = importlib.import_module("jwt.exceptions").ExpiredSignatureError
    own = Classification(ErrorCategory.CLIENT, 410, "TOKEN_GONE", "It is over", severity=Severity.INFO)
    assert Classifier().classify(gone()).status == 401
    assert Classifier({gone.__mro__[2]: own}).classify(gone()).status == 401
    assert Classifier({gone.__mro__[1]: own}).classify(gone()) == own


def test_a_class_that_nobody_decided_about_would_be_found(walked: dict[str, type[BaseException]]) -> None:
    # The control: what the next version of a library may bring.
    new = type("NewError", (walked["pymongo.errors.OperationFailure"],), {"__module__": "pymongo.errors"})
    assert undecided([*walked.values(), new]) == {"pymongo.errors.NewError"}


def test_what_is_let_inherit_is_there_and_has_something_to_inherit(walked: dict[str, type[BaseException]]) -> None:
    rows = Classifier().rows
    assert (INHERIT | DEFECTS) - set(walked) == set()
    for name in INHERIT:
        parents = walked[name].__mro__[1:]
        assert any(kind in rows or (kind.__module__, kind.__name__) in NAMED for kind in parents), name
    for name in DEFECTS:
        assert not any(kind in rows for kind in walked[name].__mro__), name


def test_the_walk_reaches_private_classes_and_subpackages(walked: dict[str, type[BaseException]]) -> None:
    expected = {
        "pymongo.errors._OperationCancelled",
        "pymongo.pool_shared._PoolClosedError",
        "werkzeug.routing.matcher.SlashRequired",
        "gridfs.errors.NoFile",
        "gunicorn.http.errors.InvalidChunkSize",
        "ssl.SSLCertVerificationError",
        "ConnectionResetError",
    }
    assert expected <= set(walked)


def test_no_class_has_two_rows_and_every_row_is_one() -> None:
    tables: list[dict[Any, Any]] = [TYPES, RULES, WEB_TYPES, WEB_RULES]
    kinds = [kind for table in tables for kind in table]
    assert len(kinds) == len(set(kinds))
    rows = [*TYPES.values(), *WEB_TYPES.values(), *NAMED.values(), *(label.row for label in LABELS.values())]
    assert all(isinstance(row, Classification) and 400 <= row.status <= 599 and row.message for row in rows)
    assert ("pydantic", "ValidationError") in KNOWN


def test_a_defect_in_a_model_is_an_internal_error() -> None:
    from pydantic.errors import PydanticUserError

    assert Classifier().classify(PydanticUserError("bad model", code=None)) is INTERNAL_ERROR
