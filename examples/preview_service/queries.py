"""The queries of `otel_studio.api` as JSON, under `/studio/{query}`."""

from __future__ import annotations

import json
from typing import Any

from fastapi import APIRouter, HTTPException, Request

from otel_studio import api
from otel_studio.api import Record

router = APIRouter(prefix="/studio", tags=["studio"])


@router.get("")
def list_queries() -> list[str]:
    """Return the names of the queries."""
    return sorted(name for name in dir(api) if name.startswith("get_"))


@router.get("/{query}")
def answer_query(query: str, request: Request) -> Any:
    """Answer a query; its arguments are parameters of the address, as in `?limit=5`."""
    if query not in list_queries():
        raise HTTPException(404, f"no query is called {query!r}: see /studio for their names")
    arguments = {name: _value(text) for name, text in request.query_params.items()}
    try:
        return plain(getattr(api, query)(**arguments))
    except (TypeError, ValueError) as error:
        raise HTTPException(422, str(error)) from None


def plain(answer: Any) -> Any:
    """Return an answer as plain values: records become dicts."""
    if isinstance(answer, Record):
        return answer.to_dict()
    if isinstance(answer, list):
        return [plain(item) for item in answer]
    return answer


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
