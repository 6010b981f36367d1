"""A query -> one vector: its terms encoded by the towers that made the store's features, weighed and added.

Text vectors are kept; torch and a tower are loaded only for a term that was never asked before.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import json
import logging
import math
import os
import struct
import threading
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from vtrcli.errors import InputError, StoreError, UsageError
from vtrcli.searching.query import Query, QueryVectors, Term
from vtrcli.searching.scores import Together
from vtrcli.store.catalog import Catalog
from vtrcli.store.config import INDEX_FOLDER, BackboneInfo
from vtrcli.store.derived import keep_newest, read_kept, write_kept
from vtrcli.store.reader import unit_rows
from vtrcli.store.shard import TensorFile
from vtrcli.times import clock, parse_seconds

if TYPE_CHECKING:
    from PIL import Image

    from vtrcli.model.backbone import Backbone
    from vtrcli.preprocessing import Size
    from vtrcli.searching.run import RunModel
    from vtrcli.store.texts import TextRows

_LOG = logging.getLogger(__name__)
MAX_NAMES_TO_COMPARE = 20_000
QUERY_FORMAT = "vtr-query"
MAX_QUERIES = 4096  # 2 kB each with ViT-B/32
SWEEP_SHARE = 64  # so many texts among MAX_QUERIES have the folder counted: it holds 2 per cent more at times
VECTOR, WAS_CUT = "vector", "was_cut"
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
MAX_PIXELS = 134_000_000
# A picture of several times this size, squared, is averaged down before anything else is made of it.
REDUCED_SIDE = 2048
_ORIENTATION = 0x0112  # of EXIF


class Towers:
    """The towers of this process: each is loaded once, whoever asks for it, and computes on one thread at a time.

    Attributes:
        turn: held by the thread that computes. Towers take every core there is; two at once take longer than in turn.
    """

    def __init__(self) -> None:
        self.turn = threading.RLock()
        self._loaded: dict[tuple[BackboneInfo, str, str], Backbone] = {}

    def open(
        self,
        backbone: BackboneInfo,
        tower: Literal["query", "image"],
        *,
        device: str,
        source: Path,
        preprocessing: dict[str, Any] | None,
    ) -> Backbone:
        """The tower; raises as `open_tower`."""
        from vtrcli.model.families import open_tower

        key = (backbone, tower, device)
        with self.turn:
            if key not in self._loaded:
                self._loaded[key] = open_tower(
                    backbone, store=source, tower=tower, device=device, preprocessing=preprocessing
                )
            return self._loaded[key]


class QueryEncoder:
    """Queries as unit vectors among frames and, with a run, as vectors of its space.

    For a run a text is split into the run's streams, and an image is a video of one frame. New texts that several
    threads ask for at once are encoded together.

    Args:
        backbone: what made the frames.
        source: the store, for messages.
        folder: where text vectors are kept.
        preprocessing: of the frames, as the store records it; None where it is not known.
        towers: of other encoders, too; None for towers of its own.
        keeps: write the vectors of texts there; False: remember them as long as this encoder is used.
    """

    def __init__(
        self,
        backbone: BackboneInfo,
        places: Places,
        *,
        source: Path,
        folder: Path,
        device: str,
        run: RunModel | None = None,
        preprocessing: dict[str, Any] | None = None,
        towers: Towers | None = None,
        keeps: bool = True,
    ) -> None:
        self._preprocessing, self._towers = preprocessing, towers or Towers()
        self._backbone, self._places, self._run = backbone, places, run
        self._source, self._device = source, device
        self._texts = QueryCache(folder, model_id=backbone.sha256, width=backbone.dim, keeps=keeps)
        self._encode_text = Together(self._encode_texts)
        if run is not None:
            model_id = f"{backbone.sha256} {run.key} {run.config.tagger_id}"
            self._texts_by_run = QueryCache(folder, model_id=model_id, width=run.width, keeps=keeps)
            self._encode_by_run: Together[str, tuple[np.ndarray, bool]] = Together(
                lambda texts: self._encode_texts_by_run(run, texts)
            )

    def encode(self, query: Query) -> QueryVectors:
        """The vectors of a query, and of the sentences of a chain; raises as `_encode_first`."""
        first = self._encode_first(query)
        then = tuple(self._encode_first(Query(text=text)) for text in query.then)
        notes = (note for part in (first, *then) for note in part.notes)
        return replace(first, then=then, notes=tuple(dict.fromkeys(notes)))

    def _encode_first(self, query: Query) -> QueryVectors:
        """The terms' vectors, weighed and added. By a run one text alone has the length that it has in `vtr eval`, so
        that scores are the same.

        Raises:
            InputError: an image that is none, a video that the store does not have, or another version of the run's
                tagger is installed.
            UsageError: terms that cancel each other, or a picture or a video for a head that ranks by texts alone.
            WeightsError, StoreError: the backbone cannot be loaded, or is another one now.
        """
        run = self._run
        if run is not None and not (query.is_text or run.head.is_inner_product):
            raise UsageError(
                f"a picture or a video as a query, with run {run.run}",
                allowed=f"its head {run.head.name!r} ranks by texts alone",
                to_do="leave out --image and --like, or the run (--run none)",
            )
        texts = {term: self._text(term.value) for term in query.terms if term.kind == "text"}
        frames = {term: self._frames(term) for term in query.terms if term.kind != "text"}
        notes: tuple[str, ...] = ()
        if any(was_cut for _, was_cut in texts.values()):
            read = f"{self._backbone.context_length} tokens; the backbone reads only its beginning"
            notes = (f"the query is longer than {read}",)
        scripts: tuple[str, ...] = ()
        words = " ".join(term.value for term in texts)
        if not words.isascii():
            from vtrcli.text.scripts import script_note, unread_scripts

            scripts = unread_scripts(words, self._backbone)
            notes += (script_note(scripts, self._backbone),) if scripts else ()
        clip = combine(
            [
                (term, texts[term][0] if term in texts else unit_rows(frames[term]).mean(axis=0))
                for term in query.terms
            ]
        )
        if run is None:
            return QueryVectors(clip, clip, notes, scripts)
        by_run = [
            (
                term,
                self._text_by_run(term.value) if term in texts else self._frames_by_run(run, frames[term]),
            )
            for term in query.terms
        ]
        lengths = [float(np.linalg.norm(vector)) for term, vector in by_run if term in texts]
        ranking = combine(by_run) * np.float32(np.mean(lengths) if lengths else 1.0)
        return QueryVectors(clip, ranking, notes, scripts)

    def _frames(self, term: Term) -> np.ndarray:
        """float [num_frames, dim]: those that a place in a video means, or the picture as one."""
        if term.kind == "like":
            return self._places.frames_at(term.value)
        with self._towers.turn:
            tower = self._tower("image")
            picture = read_image(Path(term.value), size=tower.preprocessing)
            features: np.ndarray = tower.encode_images(picture[None])
        return features

    def _frames_by_run(self, run: RunModel, frames: np.ndarray) -> np.ndarray:
        with self._towers.turn:
            vector: np.ndarray = run.heads.of_frames([frames])[0]
        return vector

    def _text(self, text: str) -> tuple[np.ndarray, bool]:
        return self._texts.get_or_put(text, lambda: self._encode_text(text))

    def _encode_texts(self, texts: list[str]) -> list[tuple[np.ndarray, bool]]:
        with self._towers.turn:
            found = self.text_tower.encode_texts(texts)
        return list(zip(found.features, found.was_cut.tolist(), strict=True))

    def _text_by_run(self, text: str) -> np.ndarray:
        return self._texts_by_run.get_or_put(text, lambda: self._encode_by_run(text))[0]

    def _encode_texts_by_run(self, run: RunModel, texts: list[str]) -> list[tuple[np.ndarray, bool]]:
        with self._towers.turn:
            return [(np.ravel(vector), False) for vector in run.texts(self.streams_of(run, texts))]

    def streams_of(self, run: RunModel, texts: Sequence[str]) -> TextRows:
        """The features of texts in the run's streams; raises as `_encode_first`."""
        from vtrcli.text.encode import encode_streams

        with self._towers.turn:
            return encode_streams(texts, run.tagger, self.text_tower)[0]

    def warm(self) -> None:
        """Load what a text needs that was never asked, and use it once; raises as `_encode_first`."""
        self._encode_text("a video")
        if self._run is not None:
            self._encode_by_run("a video")

    @property
    def text_tower(self) -> Backbone:
        """What encodes texts; loaded when it is asked for, and kept."""
        return self._tower("query")

    def _tower(self, tower: Literal["query", "image"]) -> Backbone:
        return self._towers.open(
            self._backbone,
            tower,
            device=self._device,
            source=self._source,
            preprocessing=self._preprocessing,
        )


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


def split_place(value: str) -> tuple[str, float | None]:
    """`clip.mp4@1:12` -> ("clip.mp4", 72.0); without a time behind an @ the whole is the video's name."""
    name, at, time = value.rpartition("@")
    seconds = parse_seconds(time) if at and name else None
    return (value, None) if seconds is None else (name, seconds)


class Places(Protocol):
    """Finds what VIDEO[@SECONDS] names."""

    def frames_at(self, value: str) -> np.ndarray:
        """float [num_frames, dim]: the frame nearest to the time, or all frames of the video. Raises InputError."""


class CatalogPlaces:
    """Places in the videos of stores; those of the first come first."""

    def __init__(self, catalogs: Sequence[Catalog]) -> None:
        self._catalogs = catalogs

    def frames_at(self, value: str) -> np.ndarray:
        """float16 [num_frames, dim]; see `Places`."""
        catalog, video, seconds = self.find(value)
        timestamps = catalog.timestamps(video)
        length = max(catalog.duration(video) or 0.0, float(timestamps[-1]))
        if seconds is not None and seconds > length + 0.5:
            raise InputError(
                f"--like {value}: the video is {clock(length)} long",
                allowed="a time within the video",
                to_do="correct the time behind the @",
            )
        return nearest_frame(catalog.features(video), timestamps, seconds)

    def find(self, value: str) -> tuple[Catalog, int, float | None]:
        """The video that VIDEO[@SECONDS] names, and the time. Raises InputError unless it is one video."""
        name, seconds = split_place(value)
        for wanted, at in ((value, None), (name, seconds)):
            for catalog in self._catalogs:
                matches = _videos_named(catalog, wanted)
                if len(matches) == 1:
                    return catalog, matches[0], at
                if matches:
                    paths = ", ".join(catalog.paths[match] for match in matches[:2])
                    raise _not_one(
                        f"{len(matches)} videos are called {wanted!r}, such as {paths}",
                        "name more of the path",
                    )
        ids = [video_id for catalog in self._catalogs for video_id in catalog.ids[:MAX_NAMES_TO_COMPARE]]
        near = difflib.get_close_matches(name, ids, n=1, cutoff=0.5)
        raise _not_one(
            f"no video {value!r} in store {' or '.join(str(catalog.store) for catalog in self._catalogs)}",
            f"did you mean {near[0]!r}?" if near else "extract it first (`vtr extract`)",
        )


def _not_one(came_in: str, to_do: str) -> InputError:
    return InputError(
        came_in, allowed="--like takes the id, the path or the end of the path of one video", to_do=to_do
    )


def nearest_frame(features: np.ndarray, timestamps: np.ndarray, seconds: float | None) -> np.ndarray:
    """[1, dim]: the frame nearest to a time; all frames for None."""
    if seconds is None:
        return features
    nearest = int(np.argmin(np.abs(timestamps - seconds)))
    return features[nearest : nearest + 1]


def _videos_named(catalog: Catalog, name: str) -> list[int]:
    """By id, else by path, else by the end of a path."""
    if name in catalog.number_of:
        return [catalog.number_of[name]]
    paths = catalog.paths.all()
    absolute = os.path.abspath(name)
    exact = [number for number, path in enumerate(paths) if path == absolute]
    return exact or [number for number, path in enumerate(paths) if path.endswith(f"/{name}")]


def cache_folder(store: Path) -> Path:
    """Where the vectors of queries to a store are kept."""
    return store / INDEX_FOLDER / "queries"


class QueryCache:
    """Text vectors of earlier queries, so that one that was asked before needs neither the text tower nor torch.

    A small file per text, named by a hash of the text and of what made the vector.

    Args:
        folder: where the files lie (`cache_folder` for a store).
        model_id: names the weights (and the tagger) that make the vectors.
        keeps: write there. Who searches as people type would write a file for every letter: False remembers the texts
            asked for last instead.
    """

    def __init__(self, folder: Path, *, model_id: str, width: int, keeps: bool = True) -> None:
        self._folder = folder
        self._model_id, self._width = model_id, width
        self._remembered: dict[str, tuple[np.ndarray, bool]] | None = None if keeps else {}

    def get_or_put(self, text: str, encode: Callable[[], tuple[np.ndarray, bool]]) -> tuple[np.ndarray, bool]:
        """As `get`; what was not asked before is encoded, and kept."""
        kept = self.get(text)
        if kept is not None:
            _LOG.info("%r was asked before: its vector is kept", text)
            return kept
        made = encode()
        self.put(text, made[0], was_cut=made[1])
        return made

    def get(self, text: str) -> tuple[np.ndarray, bool] | None:
        """float32 [width] and whether CLIP had to cut the text; None when it was not asked before."""
        if known := (self._remembered or {}).get(text):
            return known
        path = self._path(text)
        kept = read_kept(path, file_format=QUERY_FORMAT, made_from={}, read=self._read)
        if kept is not None and self._remembered is None:
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
        """Keep a vector; the oldest go when there are too many.

        Counting thousands of files takes longer than a search: one text in so many does it, whoever asks for it.
        """
        if self._remembered is not None:
            if len(self._remembered) >= MAX_QUERIES:
                self._remembered = {}
            self._remembered[text] = vector.astype(np.float32), was_cut
            return
        tensors, metadata = {VECTOR: vector.astype("<f4")}, {WAS_CUT: str(int(was_cut))}
        path = self._path(text)
        write_kept(path, tensors, file_format=QUERY_FORMAT, metadata=metadata)
        if int(path.stem, 16) % max(1, MAX_QUERIES // SWEEP_SHARE) == 0:
            with contextlib.suppress(OSError, StoreError):
                keep_newest(self._folder, MAX_QUERIES)

    def _path(self, text: str) -> Path:
        key = json.dumps([self._model_id, text]).encode()
        return self._folder / f"{hashlib.sha256(key).hexdigest()[:32]}.safetensors"


def read_image(path: Path, *, size: Size) -> np.ndarray:
    """uint8 RGB [height, width, 3]: upright, brought to its size as the decoder brings frames.

    Little more than the decoded picture is ever in memory.

    Raises:
        InputError: no such file, no picture of a known format, or one with too many pixels.
    """
    from PIL import Image

    from vtrcli.preprocessing import framing_of

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
