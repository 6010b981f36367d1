"""Frames of many videos -> batches of one size -> their features, with copying and computing side by side on a GPU.

A `Lane` is the place of one batch: rows to fill, a start, features to fetch. With two of them the host fills one while
the device works at the other. What keeps that safe is one law of `FrameBatcher`: a lane is filled again only when its
features have been fetched, so everything that was started in it is over - the copy to the device, the product and the
copy back. torch is imported inside the functions.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from vtrcli.model.backbone import Backbone
from vtrcli.preprocessing import Size, framing_of

if TYPE_CHECKING:
    import torch

GPU_LANES = 2  # one is filled, one is under way


class Lane(Protocol):
    """The place of one batch. `rows`: uint8 [batch_size, height, width, 3], to be filled before `start`."""

    rows: np.ndarray

    def start(self) -> None:
        """Begin to encode the rows, which must stay as they are until `features` or `wait`."""

    def features(self) -> np.ndarray:
        """float32 [batch_size, dim] of what was started, waited for; the caller's own. Raises as `encode_images`."""

    def wait(self) -> None:
        """Until nothing of it is under way."""


class HostLane:
    """A lane whose batch is encoded, to its end, as it is started: on a CPU nothing is gained by less."""

    def __init__(
        self, encode: Callable[[np.ndarray], np.ndarray], *, batch_size: int, input_size: Size
    ) -> None:
        self.rows = np.zeros((batch_size, *framing_of(input_size).shape), np.uint8)
        self._encode = encode
        self._features: np.ndarray | None = None

    def start(self) -> None:
        """See `Lane.start`."""
        self._features = self._encode(self.rows)

    def features(self) -> np.ndarray:
        """See `Lane.features`."""
        assert self._features is not None
        return self._features

    def wait(self) -> None:
        """It is over already."""


class DeviceLane:
    """A lane on both sides: frames travel as uint8, and are scaled and encoded by the device.

    On a GPU the host's side is pinned, the copy runs on a stream of its own (`copies`) beside what is computed for
    another lane, and nobody waits before `features`. On a CPU the same steps follow each other.

    What comes back in half precision and is not finite, or was started before the backbone went on in another
    precision, is encoded again by `encode_images`: the rows are still there.
    """

    def __init__(
        self, backbone: Backbone, *, batch_size: int, copies: torch.cuda.Stream | None = None
    ) -> None:
        import torch

        pinned, shape = copies is not None, (batch_size, *backbone.preprocessing.shape)
        self._here = torch.zeros(shape, dtype=torch.uint8, pin_memory=pinned)
        self._there = torch.empty(shape, dtype=torch.uint8, device=backbone.device)
        self._found = torch.empty((batch_size, backbone.info.dim), pin_memory=pinned)
        self.rows: np.ndarray = self._here.numpy()
        self._backbone, self._copies = backbone, copies
        if copies is not None:  # what used this memory before may still be computing
            copies.wait_stream(torch.cuda.current_stream(self._there.device))
        self._precision = backbone.precision
        self._copied: Any = torch.cuda.Event() if pinned else None  # type: ignore[no-untyped-call]
        # Blocking: who waits for it lets go of the core, which the decoders need.
        self._done: Any = torch.cuda.Event(blocking=True) if pinned else None  # type: ignore[no-untyped-call]

    def start(self) -> None:
        """See `Lane.start`."""
        self._precision = self._backbone.precision
        if self._copies is None:
            self._there.copy_(self._here)
            self._found.copy_(self._backbone.encode_pixels(self._there))
            return
        self._start_beside(self._copies)

    def _start_beside(self, copies: torch.cuda.Stream) -> None:
        import torch

        computing = torch.cuda.current_stream(self._there.device)
        with torch.cuda.stream(copies):
            self._there.copy_(self._here, non_blocking=True)
            self._copied.record(copies)
        computing.wait_event(self._copied)
        self._found.copy_(self._backbone.encode_pixels(self._there), non_blocking=True)
        self._done.record(computing)

    def features(self) -> np.ndarray:
        """See `Lane.features`."""
        self.wait()
        found: np.ndarray = self._found.numpy()
        if self._backbone.precision != self._precision or not np.isfinite(found).all():
            return self._backbone.encode_images(self.rows)
        return found.copy()

    def wait(self) -> None:
        """See `Lane.wait`."""
        if self._done is not None:
            self._done.synchronize()  # at once where nothing was recorded


def lanes_of(backbone: Backbone, *, batch_size: int) -> Sequence[Lane]:
    """As many as are of use on its device: two that overlap on a CUDA device, else one."""
    if not backbone.device.startswith("cuda"):
        return [HostLane(backbone.encode_images, batch_size=batch_size, input_size=backbone.preprocessing)]
    import torch

    copies = torch.cuda.Stream(device=backbone.device)  # type: ignore[no-untyped-call]
    return [DeviceLane(backbone, batch_size=batch_size, copies=copies) for _ in range(GPU_LANES)]


class FrameBatcher:
    """Packs frames of many videos into batches of one fixed size, and hands their features back per video.

    The size never varies, the last batch is padded: kernels may round differently for another batch size, and a
    store that was interrupted must come out bit for bit as one that was not.

    Args:
        lanes: of one batch size. With several, features come back when as many batches as that have been started.
    """

    def __init__(self, lanes: Sequence[Lane]) -> None:
        self.batch_size = len(lanes[0].rows)
        self._lane, *others = lanes
        self._free: deque[Lane] = deque(others)
        self._under_way: deque[tuple[Lane, list[tuple[int, int]]]] = deque()
        self._owners: list[tuple[int, int]] = []
        self._filled = 0

    def push(self, owner: int, pixels: np.ndarray) -> list[tuple[int, np.ndarray]]:
        """Add uint8 [num_frames, height, width, 3] of one video.

        Returns:
            (owner, features float32 [num_rows, dim]) for every batch that is done, in the order of pushing.
        """
        done: list[tuple[int, np.ndarray]] = []
        start = 0
        while start < len(pixels):
            count = min(len(pixels) - start, self.batch_size - self._filled)
            self._lane.rows[self._filled : self._filled + count] = pixels[start : start + count]
            self._owners.append((owner, count))
            self._filled += count
            start += count
            if self._filled == self.batch_size:
                done += self._start()
        return done

    def flush(self) -> list[tuple[int, np.ndarray]]:
        """Encode what has gathered, padded with black frames, and fetch all that is under way."""
        done = []
        if self._filled:
            self._lane.rows[self._filled :] = 0
            done += self._start()
        while self._under_way:
            done += self._fetch()
        return done

    def close(self) -> None:
        """Wait for what is under way, whose features nobody wants any more: after it the buffers may go."""
        while self._under_way:
            self._under_way.popleft()[0].wait()

    def _start(self) -> list[tuple[int, np.ndarray]]:
        """Start the lane that is full and take a free one; where none is, the oldest is fetched first."""
        self._lane.start()
        self._under_way.append((self._lane, self._owners))
        self._owners, self._filled = [], 0
        done = [] if self._free else self._fetch()
        self._lane = self._free.popleft()
        return done

    def _fetch(self) -> list[tuple[int, np.ndarray]]:
        lane, owners = self._under_way[0]
        features = lane.features()
        self._under_way.popleft()
        self._free.append(lane)
        done = []
        row = 0
        for owner, count in owners:
            done.append((owner, features[row : row + count]))
            row += count
        return done
