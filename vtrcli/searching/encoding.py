"""A query -> one vector: its terms encoded by the towers that made the store's features, weighed and added.

Text vectors are kept (query_cache.py); torch and a tower are loaded only for a term that was never asked before.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from vtrcli.errors import UsageError
from vtrcli.model.towers import open_tower
from vtrcli.searching.image_file import read_image
from vtrcli.searching.query import Query, Term
from vtrcli.searching.query_cache import QueryCache
from vtrcli.store.config import BackboneTag
from vtrcli.store.reader import unit_rows

if TYPE_CHECKING:
    from vtrcli.model.backbone import Backbone
    from vtrcli.store.texts import TextRows
    from vtrcli.text.taggers import Tagger

QUERY_WAS_CUT = "the query is longer than 77 tokens; CLIP reads only its beginning"


class Places(Protocol):
    """Finds what VIDEO[@SECONDS] names."""

    def frames_at(self, value: str) -> np.ndarray:
        """float [num_frames, dim]: the frame nearest to the time, or all frames of the video. Raises InputError."""


class ClipEncoder:
    """Terms as unit vectors in the space of frames.

    Args:
        tag: the backbone that made the frames.
        source: the store, for messages.
        folder: where text vectors are kept.
    """

    def __init__(self, tag: BackboneTag, places: Places, *, source: Path, folder: Path, device: str) -> None:
        self.tag, self._places = tag, places
        self._source, self._device = source, device
        self._cache = QueryCache(folder, model_id=tag.sha256, width=tag.dim)
        self.notes: list[str] = []

    def encode(self, query: Query) -> np.ndarray:
        """float32 [dim], of length 1.

        Raises:
            InputError: an image that is none, or a video that the store does not have.
            UsageError: terms that cancel each other.
            WeightsError, StoreError: the backbone cannot be loaded, or is another one now.
        """
        self.notes = []
        return combine([(term, self._term(term)) for term in query.terms])

    def _term(self, term: Term) -> np.ndarray:
        if term.kind == "text":
            return self._text(term.value)
        if term.kind == "image":
            return self.image(term.value)
        return np.asarray(unit_rows(self._places.frames_at(term.value)).mean(axis=0))

    def image(self, path: str) -> np.ndarray:
        """float32 [dim], the feature of a picture's file. Raises InputError, WeightsError, StoreError."""
        pixels = read_image(Path(path), size=self.tag.input_size)
        return np.asarray(self._image_tower.encode_images(pixels[None])[0])

    def streams(self, text: str, tagger: Tagger) -> TextRows:
        """Features of one text's streams, as `vtr cache` makes them."""
        from vtrcli.text.cache import encode_streams

        return encode_streams([text], tagger, self._text_tower)[0]

    def _text(self, text: str) -> np.ndarray:
        kept = self._cache.get(text)
        if kept is None:
            encoded = self._text_tower.encode_texts([text])
            kept = encoded.features[0], encoded.num_cut > 0
            self._cache.put(text, kept[0], was_cut=kept[1])
        if kept[1]:
            self.notes.append(QUERY_WAS_CUT)
        return kept[0]

    @cached_property
    def _text_tower(self) -> Backbone:
        return open_tower(self.tag, store=self._source, tower="text", device=self._device)

    @cached_property
    def _image_tower(self) -> Backbone:
        return open_tower(self.tag, store=self._source, tower="image", device=self._device)


def combine(terms: list[tuple[Term, np.ndarray]]) -> np.ndarray:
    """The weighted sum of the terms' unit vectors, float32 of length 1. Raises UsageError when it is nothing."""
    total = np.sum([term.weight * unit_rows(vector) for term, vector in terms], axis=0)
    length = float(np.linalg.norm(total))
    if not np.isfinite(length) or length < 1e-3 * sum(abs(term.weight) for term, _ in terms):
        raise UsageError(
            "the terms of the query cancel each other",
            allowed="terms that point somewhere",
            to_do="leave a term out, or give it another weight (--weights)",
        )
    unit: np.ndarray = (total / length).astype(np.float32)
    return unit
