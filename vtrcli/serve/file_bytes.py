"""One file over HTTP, whole or in part (RFC 9110, 13 and 14), and never bytes of another.

Starlette's FileResponse opens the file by its name when it sends: what was put there meanwhile goes out under the
length and the state of the one before. Here the file is opened once, and looked at before each piece.
"""

from __future__ import annotations

import os
import re
import urllib.parse
from email.utils import formatdate
from pathlib import Path
from typing import BinaryIO

from anyio import to_thread
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from vtrcli.errors import VideoError
from vtrcli.serve.endpoint import ApiResponse
from vtrcli.video.files import check_file

PIECE_BYTES = 1 << 18
# One range; longer numbers lie outside of any file.
_RANGE = re.compile(r"bytes[ \t]*=[ \t]*(\d{0,25})[ \t]*-[ \t]*(\d{0,25})[ \t]*", re.IGNORECASE)


def etag_of(status: os.stat_result) -> str:
    """Of a file as it is; another one for any change that its state tells."""
    return f'"{status.st_size:x}-{status.st_mtime_ns:x}-{status.st_ino:x}"'


def wanted_range(header: str | None, num_bytes: int) -> tuple[int, int] | None:
    """Begin and end (behind the last) of the bytes that are wanted; None for the whole file.

    What is no range of bytes, or more than one, is passed over, as RFC 9110 (14.2) allows: no player asks for several,
    and many small ones would cost more than the file.

    Raises:
        ValueError: it lies outside of the file.
    """
    found = _RANGE.fullmatch(header.strip()) if header else None
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        begin, end = max(0, num_bytes - int(found[2])), num_bytes
    else:
        begin = int(found[1])
        end = min(int(found[2]) + 1, num_bytes) if found[2] else num_bytes
        if found[2] and int(found[2]) < begin:
            return None
    if begin >= num_bytes:
        raise ValueError(header)
    return begin, end


class FileBytes(Response):
    """A regular file, opened when this is made.

    Raises:
        VideoError: it is gone, cannot be read, or (`expected`) is not in this state.
    """

    def __init__(self, path: Path, *, media_type: str, expected: os.stat_result) -> None:
        check_file(path)
        try:
            self._file: BinaryIO = open(path, "rb", buffering=0)  # type: ignore[assignment]  # noqa: SIM115
        except OSError as error:
            raise VideoError("not-found", error.strerror or "it is gone", path=os.fspath(path)) from error
        self._status = os.fstat(self._file.fileno())
        if etag_of(self._status) != etag_of(expected):
            self._file.close()
            raise VideoError("changed", "it was replaced just now", path=os.fspath(path))
        self.status_code, self.background = 200, None
        self.body = b""
        name = urllib.parse.quote(os.fsencode(path.name), safe="")
        self.init_headers(
            {
                "accept-ranges": "bytes",
                "cache-control": "private, no-cache",
                "content-disposition": f"inline; filename*=UTF-8''{name}",
                "content-length": str(self._status.st_size),
                "content-type": media_type,
                "etag": etag_of(self._status),
                "last-modified": formatdate(self._status.st_mtime, usegmt=True),
            }
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer; see `Response`."""
        try:
            await self._answer(scope, receive, send)
        finally:
            self._file.close()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = Headers(scope=scope)
        begin, end = 0, self._status.st_size
        if self.headers["etag"] in [tag.strip() for tag in asked.get("if-none-match", "").split(",")]:
            self.status_code = 304
            del self.headers["content-length"]
            begin = end
        elif asked.get("if-range", self.headers["etag"]) in (
            self.headers["etag"],
            self.headers["last-modified"],
        ):
            try:
                part = wanted_range(asked.get("range"), end)
            except ValueError:
                await _outside(asked["range"], end)(scope, receive, send)
                return
            if part is not None:
                begin, end = part
                self.status_code = 206
                self.headers["content-range"] = f"bytes {begin}-{end - 1}/{self._status.st_size}"
                self.headers["content-length"] = str(end - begin)
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        if scope["method"] == "HEAD":
            begin = end
        while begin < end:
            piece = await to_thread.run_sync(self._piece, begin, min(PIECE_BYTES, end - begin))
            if not piece:
                return  # without the end that was promised: the connection is closed
            begin += len(piece)
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    def _piece(self, begin: int, num_bytes: int) -> bytes:
        """Bytes of the file as it was when it was opened; none when somebody has written to it since."""
        self._file.seek(begin)
        try:
            piece = self._file.read(num_bytes)
        except OSError:
            return b""
        now = os.fstat(self._file.fileno())
        same = (now.st_size, now.st_mtime_ns) == (self._status.st_size, self._status.st_mtime_ns)
        return piece if same else b""


def _outside(header: str, num_bytes: int) -> ApiResponse:
    parts = {
        "came_in": f"the range {header[:200]!r}",
        "allowed": f"the file has {num_bytes:,} bytes",
        "to_do": "ask for a part of it",
    }
    return ApiResponse({"error": parts}, status_code=416, headers={"Content-Range": f"bytes */{num_bytes}"})
