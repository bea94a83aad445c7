"""Flask-PyMongo's database and collections, whose collections within collections work with PyMongo 4.9 and later, too.

Flask-PyMongo 3.0.1 asks a collection for its database by a private name that PyMongo has given up: ``db.fs.files`` and
``db["fs"]["files"]`` raise ``AttributeError`` there. A host's own Flask-PyMongo is left as it is. Where there is none, they
are the driver's own, and have no ``find_one_or_404``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pymongo
from pymongo.synchronous.collection import Collection as DriverCollection
from pymongo.synchronous.database import Database as DriverDatabase

if TYPE_CHECKING:
    from flask_pymongo.wrappers import Collection as FlaskCollection
    from flask_pymongo.wrappers import Database as FlaskDatabase
    from flask_pymongo.wrappers import MongoClient as FlaskClient
else:
    try:
        from flask_pymongo.wrappers import Collection as FlaskCollection
        from flask_pymongo.wrappers import Database as FlaskDatabase
        from flask_pymongo.wrappers import MongoClient as FlaskClient
    except ImportError:  # not there, or one that its own driver is too new for
        FlaskCollection, FlaskDatabase, FlaskClient = DriverCollection, DriverDatabase, pymongo.MongoClient


class Client(FlaskClient):
    """Flask-PyMongo's client where there is one."""


class Collection(FlaskCollection):
    """A collection with ``find_one_or_404``, as all have that are made of it: those below it, and itself with other options."""

    def __getattr__(self, name: str) -> Any:
        return DriverCollection.__getattr__(
            self, name
        )  # which refuses private names, and asks for the item of the others

    def __getitem__(self, name: str) -> Any:
        return _like(DriverCollection.__getitem__(self, name), cast(FlaskDatabase, self.database))

    def with_options(self, *arguments: Any, **options: Any) -> Any:
        return _like(super().with_options(*arguments, **options), cast(FlaskDatabase, self.database))


class Database(FlaskDatabase):
    """A database whose collections are those of above."""

    def __getattr__(self, name: str) -> Any:
        return DriverDatabase.__getattr__(self, name)

    def __getitem__(self, name: str) -> Any:
        # As the driver makes its own. Not that one made over: a collection takes a tenth of a command to make, and one whose
        # class is changed makes each command dearer.
        return Collection(self, name)

    def get_collection(self, *arguments: Any, **options: Any) -> Any:
        return _like(super().get_collection(*arguments, **options), self)


def _like(made: DriverCollection[Any], database: FlaskDatabase) -> Collection:
    """The same collection, of our class."""
    return Collection(
        database,
        made.name,
        False,
        made.codec_options,
        made.read_preference,
        made.write_concern,
        made.read_concern,
    )
