"""Classes that mean the error which they wrap: the driver's for client-side encryption, and those of mappers.

Stand-ins with the modules, names and ways of raising of the real ones: mongoengine 0.29 and umongo 4 raise while they handle the
driver's error, without ``from`` and with it; ODMantic 1.1 keeps it in an attribute.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pymongo import errors as mongo

from prodfix import classify
from prodfix.classification.classifications import DATABASE_ERROR, INTERNAL_ERROR, NETWORK_FAILED
from prodfix.classification.classifier import Classifier
from prodfix.classification.table import entries
from prodfix.classification.wrappers import wrapped
from prodfix.errors import Outcome

CANARY = "canary@secret.example"
TAKEN = {"code": 11000, "keyPattern": {"email": 1}, "keyValue": {"email": CANARY}}
BROKEN = {"code": 121, "errInfo": {"details": {"operatorName": "$gt", "specifiedAs": {"age": {"$gt": CANARY}}}}}


def duplicate() -> Exception:
    return mongo.DuplicateKeyError(f"E11000 dup key: {CANARY}", 11000, TAKEN)


def kind(module: str, *names: str, root: type[Exception] = Exception) -> Any:
    found: Any = root
    for name in names:
        found = type(name, (found,), {"__module__": module})
    return found


OPERATION = kind("mongoengine.errors", "MongoEngineException", "OperationError")
NOT_UNIQUE = kind("mongoengine.errors", "NotUniqueError", root=OPERATION)
BULK = kind("mongoengine.errors", "BulkWriteError", root=OPERATION)
AWAY = kind("mongoengine.connection", "ConnectionFailure")
ARROW = kind("pymongoarrow.errors", "PyMongoArrowError", "ArrowWriteError")
MARSHMALLOW = kind("marshmallow.exceptions", "ValidationError", root=ValueError)
REVISION = kind("beanie.exceptions", "RevisionIdWasChanged")


def during(outer: Exception, inner: Exception) -> Exception:
    """``outer`` as it is raised in ``except type(inner) as err: raise outer``."""
    outer.__context__ = inner
    return outer


def keeping(inner: Exception) -> Exception:
    """ODMantic's: ``raise DuplicateKeyError(instance, e)``."""
    error: Any = kind("odmantic.exceptions", "BaseEngineException", "DuplicateKeyError")(CANARY)
    error.driver_error = inner
    return during(error, inner)


def tried(inner: Exception) -> Exception:
    """The last try of the library ``retrying``."""
    attempt = type("Attempt", (), {"has_exception": True, "value": (type(inner), inner, None)})()
    error: Any = kind("retrying", "RetryError")()
    error.last_attempt = attempt
    return during(error, inner)


WRAPPERS: dict[str, Callable[[Exception], Exception]] = {
    "mongoengine": lambda inner: during(OPERATION(f"Could not save document ({CANARY})"), inner),
    "mongoengine, unique": lambda inner: during(NOT_UNIQUE(f"Tried to save duplicate unique keys ({CANARY})"), inner),
    "mongoengine, many": lambda inner: during(BULK(f"Bulk write error: ({CANARY})"), inner),
    "mongoengine, connection": lambda inner: during(AWAY(f"Cannot connect to database default ({CANARY})"), inner),
    "pymongoarrow": lambda inner: during(ARROW(CANARY), inner),
    "odmantic": keeping,
    "encryption": mongo.EncryptionError,
    "encrypted collection": lambda inner: mongo.EncryptedCollectionError(inner, {}),
    "retrying": tried,
}
INNER: dict[str, Callable[[], Exception]] = {
    "duplicate": duplicate,
    "rules": lambda: mongo.WriteError(CANARY, 121, BROKEN),
    "rules of many": lambda: mongo.BulkWriteError({"writeErrors": [{"index": 0, **BROKEN}], "nInserted": 1}),
    "size": lambda: mongo.WriteError(CANARY, 17419, {"code": 17419}),
    "lost": lambda: mongo.AutoReconnect(CANARY),
    "no server": lambda: mongo.ServerSelectionTimeoutError(CANARY),
    "slow": lambda: mongo.NetworkTimeout(CANARY),
    "slow there": lambda: mongo.ExecutionTimeout(CANARY, 50, {"code": 50}),
    "conflict": lambda: mongo.OperationFailure(CANARY, 112, {"code": 112}),
    "credentials": lambda: mongo.OperationFailure(CANARY, 18, {"code": 18}),
    "not confirmed": lambda: mongo.WTimeoutError(CANARY, 64, {"code": 64}),
}


@pytest.mark.parametrize("inner", INNER)
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_wrapper_means_what_it_wraps_with_its_fields_and_its_outcome(wrapper: str, inner: str) -> None:
    error = INNER[inner]()
    meaning = classify(WRAPPERS[wrapper](error))
    assert meaning == classify(error)
    assert meaning.code != INTERNAL_ERROR.code
    assert CANARY not in repr(meaning)


def test_a_key_that_is_taken_names_its_field() -> None:
    for wrapper in WRAPPERS.values():
        meaning = classify(wrapper(duplicate()))
        assert (meaning.status, [problem.field for problem in meaning.details]) == (409, ["email"])


def test_an_error_of_the_application_that_was_raised_alike_is_a_bug_and_no_409() -> None:
    # The control: it is the class that says what it is for, and not that it came while another one was handled.
    assert classify(during(kind("shop.errors", "OperationError")("x"), duplicate())) is INTERNAL_ERROR
    assert classify(during(KeyError(), duplicate())) is INTERNAL_ERROR


def test_an_error_before_the_one_that_was_handled_is_another_matter() -> None:
    own = during(OPERATION("Attempt to update a document not yet saved"), during(KeyError(), duplicate()))
    assert classify(own) is INTERNAL_ERROR


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [
        (NOT_UNIQUE("x"), "DUPLICATE_KEY", 409),
        (OPERATION("Attempt to update a document not yet saved"), "INTERNAL_ERROR", 500),
        (AWAY("You have not defined a default connection"), "INTERNAL_ERROR", 500),
        (kind("odmantic.exceptions", "DuplicateKeyError")("x"), "DUPLICATE_KEY", 409),
        (REVISION(), "CONFLICT", 409),
        (during(REVISION(), duplicate()), "CONFLICT", 409),
        (during(kind("bunnet.exceptions", "RevisionIdWasChanged")(), duplicate()), "CONFLICT", 409),
        (mongo.EncryptionError(ValueError("no key")), "DATABASE_ERROR", 500),
        (kind("retrying", "RetryError")("x"), "INTERNAL_ERROR", 500),
        (kind("shop.errors", "RevisionIdWasChanged")(), "INTERNAL_ERROR", 500),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_wrapper_that_wraps_nothing_is_what_its_class_says(error: Exception, code: str, status: int) -> None:
    assert (classify(error).code, classify(error).status) == (code, status)


def test_umongos_error_for_a_key_that_is_taken_is_a_409_and_marshmallows_own_stays_a_422() -> None:
    for module, code in (("umongo.frameworks.pymongo", "DUPLICATE_KEY"), ("shop.forms", "VALIDATION_FAILED")):
        space: dict[str, Any] = {"__name__": module, "invalid": MARSHMALLOW, "taken": duplicate()}
        exec("def commit():\n    raise invalid('x') from taken", space)
        with pytest.raises(MARSHMALLOW) as caught:
            space["commit"]()
        assert classify(caught.value).code == code


def test_a_row_of_the_application_wins_outside_and_inside() -> None:
    own = DATABASE_ERROR
    assert Classifier({OPERATION: own}).classify(during(NOT_UNIQUE("x"), duplicate())) == own
    assert Classifier({mongo.DuplicateKeyError: own}).classify(during(NOT_UNIQUE("x"), duplicate())) == own


def test_a_wrapper_of_itself_or_of_another_version_ends() -> None:
    error: Any = kind("odmantic.exceptions", "DuplicateKeyError")("x")
    assert wrapped(error) is None  # no `driver_error`
    error.driver_error = error
    assert classify(error).code == "DUPLICATE_KEY"
    deep: Exception = duplicate()
    for _ in range(50):
        deep = mongo.EncryptionError(deep)
    assert classify(deep).code == "DATABASE_ERROR"


# ---- client-side encryption


def raised_in(places: list[tuple[str, str]], error: Exception) -> Exception:
    """``error`` with a traceback through these functions of these modules, the outermost first."""

    def fail() -> None:
        raise error

    inner: Any = fail
    for module, name in reversed(places):
        space: dict[str, Any] = {"__name__": module, "inner": inner}
        exec(f"def {name}():\n    inner()", space)
        inner = space[name]
    with pytest.raises(type(error)) as caught:
        inner()
    return caught.value


RUNNER, ENCRYPTION = ("pymongo.synchronous.command_runner", "_run_command"), "pymongo.synchronous.encryption"


def test_what_fails_when_the_reply_is_decrypted_was_done_by_the_server() -> None:
    no_server = mongo.ServerSelectionTimeoutError("the key vault")
    late = raised_in([RUNNER, (ENCRYPTION, "decrypt")], mongo.EncryptionError(no_server))
    assert classify(late).outcome is Outcome.UNKNOWN
    defect = raised_in([RUNNER, (ENCRYPTION, "decrypt")], mongo.EncryptionError(ValueError("no key")))
    assert classify(defect).outcome is Outcome.UNKNOWN
    # The controls: before the command was sent, and an application that decrypts a value itself.
    for places in ([RUNNER, (ENCRYPTION, "encrypt")], [("shop.views", "show"), (ENCRYPTION, "decrypt")]):
        assert classify(raised_in(places, mongo.EncryptionError(no_server))).outcome is Outcome.NOT_APPLIED


def test_a_key_service_that_does_not_answer_is_not_the_database() -> None:
    cause = raised_in([(ENCRYPTION, "kms_request")], mongo.NetworkTimeout("kms.example:443"))
    meaning = classify(mongo.EncryptionError(cause))
    assert meaning == NETWORK_FAILED
    assert not meaning.of_database
    assert classify(mongo.EncryptionError(mongo.NetworkTimeout("the key vault"))).of_database  # the control


def test_the_printed_table_has_them() -> None:
    printed = {entry["key"]: entry for entry in entries(Classifier())}
    assert printed["mongoengine.NotUniqueError"]["code"] == "DUPLICATE_KEY"
    assert "wraps" in printed["mongoengine.OperationError"]["note"]
    assert printed["marshmallow.ValidationError"]["code"] == "VALIDATION_FAILED"
