"""Pictures to search by: POST /api/images takes one and tells its id, which `image=` of a search then means.

What was sent is decoded in a child (`picture.py`) and thrown away; kept are its pixels in the sizes that the stores'
towers take, in files of a folder that only this process may open, a bounded number for a bounded time.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import numpy as np
from pydantic import BaseModel
from starlette.requests import Request

from vtrcli.errors import InputError, NotFoundError
from vtrcli.preprocessing import Framing
from vtrcli.serve.endpoint import Endpoint
from vtrcli.serve.picture import decoded

MAX_UPLOAD_BYTES = 32 << 20
MAX_IMAGES = 100
MAX_AGE_SECONDS = 4 * 3600.0
MAX_DECODED_AT_ONCE = 2
PATH = "/api/images"


class Uploaded(BaseModel):
    """The id of a picture, for `image=` of a search."""

    image: str


class Images:
    """The pictures of one server. Safe from any thread.

    Args:
        framings: the sizes to keep of each, asked anew for each picture: a store may be there only later.
    """

    def __init__(
        self,
        framings: Callable[[], Iterable[Framing]],
        *,
        max_images: int = MAX_IMAGES,
        max_age_seconds: float = MAX_AGE_SECONDS,
    ) -> None:
        self._framings = framings
        self._max_images, self._max_age_seconds = max_images, max_age_seconds
        self._added: OrderedDict[str, float] = OrderedDict()
        self._lock = threading.Lock()
        self.folder = Path(tempfile.mkdtemp(prefix="vtr-serve-"))  # of mode 0700
        self._end = weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)

    def add(self, body: bytes) -> str:
        """Decode and keep a picture; its id, which is the same for the same bytes.

        Raises:
            InputError: no picture of a known format, a hostile one, or no room on the disk.
        """
        image = hashlib.sha256(body).hexdigest()[:32]
        sizes = {_name(framing): framing for framing in self._framings()}
        with self._lock:
            self._forget()
            if image in self._added and all(self._path(image, name).is_file() for name in sizes):
                self._touch(image)
                return image
        try:
            with tempfile.NamedTemporaryFile(dir=self.folder, prefix="upload-") as file:
                file.write(body)
                file.flush()
                pixels = decoded(Path(file.name), list(sizes.values()))
            for name, array in zip(sizes, pixels, strict=True):
                self._write(image, name, array)
        except OSError as cause:
            raise InputError(
                f"a picture cannot be kept: {cause.strerror or cause}",
                allowed=f"some room in {self.folder.parent}",
                to_do="free some space there",
            ) from cause
        with self._lock:
            self._touch(image)
            self._forget()
        return image

    def file(self, image: str, framing: Framing) -> Path:
        """The picture in the size that a store's tower takes.

        Raises:
            NotFoundError: there is none of that id, or no longer.
        """
        with self._lock:
            self._forget()
            path = self._path(image, _name(framing))
            if image in self._added and path.is_file():
                self._touch(image)
                return path
        raise NotFoundError(
            f"no picture {image[:64]!r}",
            allowed=f"what POST {PATH} answered, for {self._max_age_seconds / 3600:g} hours after its last use",
            to_do="send the picture again",
        )

    def close(self) -> None:
        """Forget all."""
        self._end()

    def _write(self, image: str, name: str, pixels: np.ndarray) -> None:
        from PIL import Image

        # Of exactly this size it is read again as it is, and by a decoder that has nothing to decode.
        temporary = self._path(image, f"{name}-{threading.get_ident()}")
        Image.fromarray(pixels).save(temporary, format="BMP")
        temporary.replace(self._path(image, name))

    def _path(self, image: str, name: str) -> Path:
        return self.folder / f"{image}-{name}.bmp"

    def _touch(self, image: str) -> None:
        self._added[image] = time.monotonic()
        self._added.move_to_end(image)

    def _forget(self) -> None:
        """What was not asked for longest goes first. Called with the lock."""
        oldest = time.monotonic() - self._max_age_seconds
        while self._added:
            image, used = next(iter(self._added.items()))
            if len(self._added) <= self._max_images and used >= oldest:
                return
            del self._added[image]
            for path in self.folder.glob(f"{image}-*.bmp"):
                path.unlink(missing_ok=True)


def endpoints(images: Images) -> list[Endpoint]:
    """Where a picture is sent to."""
    limiter: list[anyio.CapacityLimiter] = []

    async def upload(asked: None, request: Request) -> dict[str, Any]:
        body = await request.body()
        if not limiter:
            limiter.append(anyio.CapacityLimiter(MAX_DECODED_AT_ONCE))  # made where the loop runs
        return {"image": await anyio.to_thread.run_sync(images.add, body, limiter=limiter[0])}

    return [
        Endpoint(
            path=PATH,
            method="POST",
            summary="Send a picture to search by",
            answer=upload,
            takes="application/octet-stream",
            answers=Uploaded,
            errors=(413,),
        )
    ]


def _name(framing: Framing) -> str:
    return framing.words.replace(" ", "-")
