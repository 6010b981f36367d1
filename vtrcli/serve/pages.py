"""Page tokens: where a list goes on, in a word that the client keeps. The server keeps nothing.

A token names the last result of its page. Where the store changed meanwhile the list goes on behind that result,
wherever it stands now: nothing that was there all the time comes twice or is passed over.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from vtrcli.errors import UsageError
from vtrcli.searching.results import Hit, SearchResult

MAX_DEPTH = 10_000  # results in all pages of one search
SLACK = 64  # new results that may stand before a page without asking again
MAX_TOKEN_CHARACTERS = 30_000  # it holds an id
Ask = Callable[[int, int], SearchResult]  # number of the first result, how many


@dataclass(frozen=True)
class Place:
    """Behind which result a page begins. `asked` names the parameters, `state` the store as it was."""

    asked: str
    state: str
    number: int
    video_id: str
    start_seconds: float
    score: float


def named(parameters: BaseModel, *, apart: set[str]) -> str:
    """A word for parameters, without those that may change from page to page."""
    body = parameters.model_dump_json(exclude=apart | {"page_token"})
    return hashlib.sha256(body.encode()).hexdigest()[:16]


def to_token(values: Sequence[Any]) -> str:
    """Values as a word that stands in a URL as it is."""
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip("=")


def from_token(token: str, kinds: Sequence[type]) -> list[Any]:
    """The values of `to_token`. Raises UsageError for what is none."""
    try:
        values = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, list) or [type(value) for value in values] != list(kinds):
        raise _no_token("a page_token that is none")
    return values


def place_of(token: str, asked: str) -> Place:
    """Raises UsageError for no token, or one of another search."""
    place = Place(*from_token(token, (str, str, int, str, float, float)))
    if place.asked != asked:
        raise _no_token("a page_token of another search")
    if not 0 < place.number < MAX_DEPTH:
        raise _no_token("a page_token that is none")
    return place


def _no_token(came_in: str) -> UsageError:
    return UsageError(
        came_in,
        allowed="the next_page_token of the same search, with the same parameters",
        to_do="send it as it came, or begin again without one",
    )


def next_token(
    result: SearchResult, first: int, asked: str, state: str, *, top_k: int, moments: bool
) -> str | None:
    """The token of what follows a page that begins behind `first` results; None where it was the last.

    A list whose last page is full may have an empty one behind it: only moments are not counted beforehand.
    """
    number = first + len(result.hits)
    is_whole = number >= result.num_videos and not moments
    if len(result.hits) < top_k or is_whole or number >= MAX_DEPTH:
        return None
    hit = result.hits[-1]
    return to_token(
        [asked, state, number, hit.video_id, float(hit.moment.start_seconds), float(hit.ranked_by)]
    )


def page_behind(place: Place, state: str, ask: Ask, *, top_k: int) -> tuple[SearchResult, int]:
    """The results behind a place, and how many stand before them now."""
    if place.state == state:
        return ask(place.number, top_k), place.number
    number = place.number + top_k + SLACK
    while True:
        result = ask(0, number)
        first = _behind(place, result.hits)
        is_whole = len(result.hits) < number or number >= MAX_DEPTH
        if is_whole or first + top_k <= len(result.hits):
            return ask(first, top_k), first
        number = min(2 * number, MAX_DEPTH)


def _behind(place: Place, hits: Sequence[Hit]) -> int:
    """How many results stand up to the place; where its own is gone, those that are better."""
    for number, hit in enumerate(hits, start=1):
        if hit.video_id == place.video_id and float(hit.moment.start_seconds) == place.start_seconds:
            return number
    return sum(hit.ranked_by > place.score for hit in hits)
