"""A query -> one vector: its terms encoded by the towers that made the store's features, weighed and added.

Text vectors are kept; torch and a tower are loaded only for a term that was never asked before.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import struct
import warnings
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vtrcli.errors import InputError, UsageError
from vtrcli.model.families import open_tower
from vtrcli.preprocessing import Size, framing_of
from vtrcli.searching.query import Places, Query, Term
from vtrcli.searching.run import RunModel
from vtrcli.store.config import INDEX_FOLDER, BackboneInfo
from vtrcli.store.derived import keep_newest, read_kept, write_kept
from vtrcli.store.reader import unit_rows
from vtrcli.store.shard import TensorFile

if TYPE_CHECKING:
    from PIL import Image

    from vtrcli.model.backbone import Backbone
    from vtrcli.store.texts import TextRows
    from vtrcli.text.streams import Tagger


class ClipEncoder:
    """Terms as unit vectors in the space of frames.

    Args:
        tag: the backbone that made the frames.
        source: the store, for messages.
        folder: where text vectors are kept.
    """

    def __init__(self, tag: BackboneInfo, places: Places, *, source: Path, folder: Path, device: str) -> None:
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
        tower = self._image_tower
        pixels = read_image(Path(path), size=tower.preprocessing)
        return np.asarray(tower.encode_images(pixels[None])[0])

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
            self.notes.append(
                f"the query is longer than {self.tag.context_length} tokens; the backbone reads only its beginning"
            )
        return kept[0]

    @cached_property
    def _text_tower(self) -> Backbone:
        return open_tower(self.tag, store=self._source, tower="text", device=self._device)

    @cached_property
    def _image_tower(self) -> Backbone:
        return open_tower(self.tag, store=self._source, tower="image", device=self._device)


class RunEncoder:
    """Queries as vectors of a run's space. A text is split into the run's streams; an image is a video of one frame."""

    def __init__(self, model: RunModel, clip: ClipEncoder, places: Places, *, folder: Path) -> None:
        self._model, self._clip, self._places = model, clip, places
        model_id = f"{clip.tag.sha256} {model.key} {model.config.tagger_id}"
        self._cache = QueryCache(folder, model_id=model_id, width=model.width)

    def encode(self, query: Query) -> np.ndarray:
        """float32 [width]; one text alone has the length that it has in `vtr eval`, so that scores are the same.

        Raises:
            As ClipEncoder.encode; InputError when another version of the tagger is installed.
            UsageError: a picture or a video, and a head that does not make the same of a text and a video.
        """
        if not (query.is_text or self._model.head.is_inner_product):
            raise UsageError(
                f"a picture or a video as a query, with run {self._model.run}",
                allowed=f"its head {self._model.head.name!r} ranks by texts alone",
                to_do="leave out --image and --like, or the run (--run none)",
            )
        terms = [(term, self._term(term)) for term in query.terms]
        lengths = [float(np.linalg.norm(vector)) for term, vector in terms if term.kind == "text"]
        vector: np.ndarray = combine(terms) * np.float32(np.mean(lengths) if lengths else 1.0)
        return vector

    def _term(self, term: Term) -> np.ndarray:
        if term.kind == "text":
            return self._text(term.value)
        if term.kind == "image":
            frames = self._clip.image(term.value)[None]
        else:
            frames = self._places.frames_at(term.value)
        return np.asarray(self._model.heads.of_frames([frames])[0])

    def _text(self, text: str) -> np.ndarray:
        kept = self._cache.get(text)
        if kept is not None:
            return kept[0]
        rows = self._clip.streams(text, self._model.tagger)
        vector = np.ravel(self._model.heads.texts(rows)[0])
        self._cache.put(text, vector, was_cut=False)
        return vector


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


QUERY_FORMAT = "vtr-query"
MAX_QUERIES = 4096  # 2 kB each with ViT-B/32
VECTOR, WAS_CUT = "vector", "was_cut"


def cache_folder(store: Path) -> Path:
    """Where the vectors of queries to a store are kept."""
    return store / INDEX_FOLDER / "queries"


class QueryCache:
    """Text vectors of earlier queries, so that one that was asked before needs neither the text tower nor torch.

    A small file per text, named by a hash of the text and of what made the vector.

    Args:
        folder: where the files lie (`cache_folder` for a store).
        model_id: names the weights (and the tagger) that make the vectors.
    """

    def __init__(self, folder: Path, *, model_id: str, width: int) -> None:
        self._folder = folder
        self._model_id, self._width = model_id, width

    def get(self, text: str) -> tuple[np.ndarray, bool] | None:
        """float32 [width] and whether CLIP had to cut the text; None when it was not asked before."""
        path = self._path(text)
        kept = read_kept(path, file_format=QUERY_FORMAT, made_from={}, read=self._read)
        if kept is not None:
            with contextlib.suppress(OSError):  # what is asked again stays longest
                path.touch()
        return kept

    def _read(self, file: TensorFile) -> tuple[np.ndarray, bool]:
        file.require(VECTOR, "F32", (self._width,))
        vector = file.tensor(VECTOR)
        if file.wrong_checksums() or not np.isfinite(vector).all():
            raise ValueError("it is damaged")
        return vector, file.metadata.get(WAS_CUT) == "1"

    def put(self, text: str, vector: np.ndarray, *, was_cut: bool) -> None:
        """Keep a vector; the oldest go when there are too many."""
        tensors, metadata = {VECTOR: vector.astype("<f4")}, {WAS_CUT: str(int(was_cut))}
        write_kept(self._path(text), tensors, file_format=QUERY_FORMAT, metadata=metadata)
        with contextlib.suppress(OSError):
            keep_newest(self._folder, MAX_QUERIES)

    def _path(self, text: str) -> Path:
        key = json.dumps([self._model_id, text]).encode()
        return self._folder / f"{hashlib.sha256(key).hexdigest()[:32]}.safetensors"


FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
MAX_PIXELS = 134_000_000
# A picture of several times this size, squared, is averaged down before anything else is made of it.
REDUCED_SIDE = 2048
_ORIENTATION = 0x0112  # of EXIF


def read_image(path: Path, *, size: Size) -> np.ndarray:
    """uint8 RGB [height, width, 3]: upright, brought to its size as the decoder brings frames.

    Little more than the decoded picture is ever in memory.

    Raises:
        InputError: no such file, no picture of a known format, or one with too many pixels.
    """
    from PIL import Image

    framing = framing_of(size)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is odd in a picture that can be read is no concern of ours
            with Image.open(path, formats=FORMATS) as opened:
                if opened.width * opened.height > MAX_PIXELS:
                    raise ValueError(f"it has {opened.width} x {opened.height} pixels")
                side = max(framing.shape)
                opened.draft("RGB", (side, side))  # a JPEG is decoded at a size near the one that is needed
                orientation = opened.getexif().get(_ORIENTATION)
                image = _eight_bits(_reduced(opened)).convert("RGB")
        fitted = framing.fitted(_upright(image, orientation))
    except (
        OSError,
        ValueError,
        SyntaxError,
        EOFError,
        MemoryError,
        struct.error,
        Image.DecompressionBombError,
    ) as cause:
        why = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(cause)
        raise InputError(
            f"{path} cannot be used as an image: {why or 'there is not enough memory for it'}",
            allowed=f"a picture ({', '.join(FORMATS)}) of at most {MAX_PIXELS // 1_000_000} million pixels",
            to_do="check the path, or convert the picture to PNG or JPEG",
        ) from cause
    return np.asarray(fitted)


def _reduced(image: Image.Image) -> Image.Image:
    """A large picture with blocks of its pixels averaged, at least REDUCED_SIDE squared; any other as it is."""
    from PIL import Image

    factor = math.isqrt(image.width * image.height // REDUCED_SIDE**2)
    factor = min(factor, image.width, image.height)
    if factor < 2:
        return image
    if not image.mode.startswith("I;"):
        return (image.convert("RGB") if image.mode in ("1", "P", "PA") else image).reduce(factor)
    height, width = image.height // factor, image.width // factor
    pixels = np.asarray(image)[: height * factor, : width * factor]
    blocks = pixels.reshape(height, factor, width, factor)
    return Image.fromarray(blocks.mean(axis=(1, 3), dtype=np.float32).round().astype(np.int32))


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 or 32 bits as grey of 8, where Pillow would cut off what lies above 255."""
    from PIL import Image

    if not image.mode.startswith(("I", "F")):
        return image
    values = np.nan_to_num(np.asarray(image).astype(np.float32))
    lowest, highest = 0.0, 65535.0 if image.mode.startswith("I") else 1.0
    if values.min() < lowest or values.max() > highest:  # of another scale: its own range then
        lowest, highest = float(values.min()), float(values.max())
    grey = (values - lowest) * (255.0 / max(highest - lowest, 1e-12))
    return Image.fromarray(grey.round().clip(0, 255).astype(np.uint8))


def _upright(image: Image.Image, orientation: object) -> Image.Image:
    """As the camera was held; the values are those of EXIF 2.3."""
    from PIL.Image import Transpose

    methods = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    method = methods.get(orientation) if isinstance(orientation, int) else None
    return image if method is None else image.transpose(method)
