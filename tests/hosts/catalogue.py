"""A host of Flask-RESTX and mongoengine: resources that answer their own errors, and documents that open the connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Flask
from flask_restx import Api, Resource, fields, reqparse
from mongoengine import Document, IntField, StringField, connect
from mongoengine.errors import NotUniqueError, ValidationError

api = Api(title="Catalogue", doc="/docs", prefix="/api")
shown = api.model("Article", {"sku": fields.String(required=True), "price": fields.Integer(min=0)})
paging = reqparse.RequestParser()
paging.add_argument("limit", type=int, default=10, location="args")


class Article(Document):
    sku = StringField(primary_key=True, max_length=8)
    price = IntField(min_value=0)
    meta = {"collection": "articles"}  # noqa: RUF012 - mongoengine's way


class OutOfPaper(Exception):
    """The printer's; nobody handles it."""


@api.errorhandler(NotUniqueError)
def not_unique(error: NotUniqueError) -> tuple[dict[str, str], int]:
    return {"message": "there is one"}, 409


@api.errorhandler(ValidationError)
def not_valid(error: ValidationError) -> tuple[dict[str, str], int]:
    return {"message": "not valid"}, 422


@api.route("/articles")
class Articles(Resource):  # type: ignore[misc]
    @api.marshal_list_with(shown)
    def get(self) -> Any:
        return list(Article.objects.order_by("sku")[: paging.parse_args()["limit"]])

    @api.expect(shown, validate=True)
    @api.marshal_with(shown, code=201)
    def post(self) -> Any:
        return Article(**api.payload).save(force_insert=True), 201


@api.route("/articles/<sku>")
class OneArticle(Resource):  # type: ignore[misc]
    @api.marshal_with(shown)
    def get(self, sku: str) -> Any:
        found = Article.objects(sku=sku).first()
        return found if found is not None else api.abort(404, "no such article", sku=sku)

    def delete(self, sku: str) -> Any:
        Article.objects(sku=sku).delete()
        return "", 204


@api.route("/label/<sku>")
class Label(Resource):  # type: ignore[misc]
    def get(self, sku: str) -> Any:
        if sku == "paper":
            raise OutOfPaper("tray 2 is empty")
        if sku == "busy":
            api.abort(503, "later")
        return {"label": sku}, 503 if sku == "half" else 200


def create_app(uri: str, extend: Callable[[Flask], object] = lambda app: None, *, alias: str = "default") -> Flask:
    app = Flask(__name__)
    app.config.update(PROPAGATE_EXCEPTIONS=False, RESTX_MASK_SWAGGER=False)
    connect(host=uri, alias=alias)
    extend(app)
    api.init_app(app)
    app.add_url_rule("/broken", view_func=lambda: 1 // 0, endpoint="broken")
    return app


PEN = {"sku": "pen", "price": 3}
REQUESTS: list[dict[str, Any]] = [
    {"path": "/api/articles"},
    {"path": "/api/articles", "method": "POST", "json": PEN},
    {"path": "/api/articles", "method": "POST", "json": PEN},
    {"path": "/api/articles", "method": "POST", "json": {"sku": "ink", "price": -1}},
    {"path": "/api/articles", "method": "POST", "json": {"price": 1}},
    {"path": "/api/articles", "method": "POST", "json": {"sku": "far-too-long-a-name"}},
    {"path": "/api/articles", "method": "POST", "data": "{", "content_type": "application/json"},
    {"path": "/api/articles?limit=1"},
    {"path": "/api/articles?limit=many"},
    {"path": "/api/articles/pen"},
    {"path": "/api/articles/nib"},
    {"path": "/api/articles", "method": "PATCH"},
    {"path": "/api/label/pen"},
    {"path": "/api/label/paper"},
    {"path": "/api/label/busy"},
    {"path": "/api/label/half"},
    {"path": "/api/nowhere"},
    {"path": "/docs"},
    {"path": "/api/articles/pen", "method": "DELETE"},
    {"path": "/broken", "headers": {"Accept": "text/html"}},
]
