"""The route of a collection's view."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from pgchroma.model.operations import GetCollectionView
from pgchroma.model.view import CollectionView
from pgchroma.wire.paths import COLLECTION, encode_collection
from pgchroma.wire.route import Request, Route

__all__ = ("VIEW_ROUTES",)


class ViewColumnBody(Struct):
    """The column of a metadata key, and its type in SQL."""

    key: str
    type: str


class CollectionViewBody(Struct):
    """The view of a collection: its schema, its name, and the columns of metadata keys."""

    schema: str
    name: str
    dimension: int | None
    keys: list[ViewColumnBody]


def _encode_view_response(request: Request, view: CollectionView) -> Any:
    keys = [ViewColumnBody(key, kind) for key, kind in view.keys]
    return CollectionViewBody(view.schema, view.name, view.dimension, keys)


def _decode_view_response(operation: Any, body: Any) -> CollectionView:
    keys = tuple((column["key"], column["type"]) for column in body["keys"])
    return CollectionView(body["schema"], body["name"], body["dimension"], keys)


VIEW_ROUTES: tuple[Route[Any, Any], ...] = (
    Route(
        operation=GetCollectionView,
        name="collection_view",
        method="GET",
        path=COLLECTION + "/view",
        access="read",
        encode_request=encode_collection,
        decode_request=lambda request: GetCollectionView(request.collection),
        encode_response=_encode_view_response,
        decode_response=_decode_view_response,
        response=CollectionViewBody,
        is_idempotent=True,
    ),
)
