"""What is known of a video: the facts that probing finds, and decoding and the store's records rest on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vtrcli.video.files import CONSTANT_RATE, SEEKABLE, STREAMS_WITHOUT_TIMES


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """One video as its header describes it. `width` x `height` is the displayed size: rotated, square pixels."""

    path: Path
    num_bytes: int
    container: str
    codec: str
    pixel_format: str
    width: int
    height: int
    rotation_degrees: int  # clockwise, to be applied for display; already in width and height
    frames_per_second: float | None
    duration_seconds: float | None
    is_hdr: bool
    # For the decoder, not for people:
    start_seconds: float
    keyframe_seconds: float | None  # median distance of the first key frames
    has_color_matrix: bool
    is_encrypted: bool
    stream: int = 0  # number of the video stream among all streams
    has_sound: bool = False
    # From packets, where an index leads to the last ones:
    end_seconds: float | None = None  # when the last picture's time is over; None: not known yet
    is_reordered: bool = True  # pictures may be stored in another order than shown
    lacks_times: bool = False  # the container does not tell when each picture is shown
    has_restarts: bool = False  # it holds several recordings, each with a clock of its own
    may_go_on: bool = False  # its header does not say where it ends: another recording may follow
    # From all packets, where they were read:
    num_pictures: int | None = None
    key_seconds: tuple[float, ...] = ()  # of its key frames, on the container's clock
    is_torn: bool = False  # what stands at its end cannot be read: it opens only when it is read like a pipe

    @property
    def is_counted(self) -> bool:
        """Whether frames have to be counted, since the container does not tell their times: a bare stream, old AVI."""
        return self.lacks_times or self.container in STREAMS_WITHOUT_TIMES | CONSTANT_RATE

    @property
    def can_seek(self) -> bool:
        """Whether an index leads to a time, and the time to a picture."""
        return self.container in SEEKABLE and not (self.is_counted or self.has_restarts or self.is_torn)

    @property
    def zero_seconds(self) -> float:
        """What the container's clock shows where the video begins."""
        return 0.0 if self.is_counted else self.start_seconds
