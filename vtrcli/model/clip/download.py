"""The download of a published CLIP: resumed after a break, checked against its SHA-256 (no torch here).

The bytes collect in FILE.part beside the target, which gets its name only when the checksum is right.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from vtrcli.errors import WeightsError
from vtrcli.model.backbone import Progress

if TYPE_CHECKING:
    from http.client import HTTPResponse

TIMEOUT_SECONDS = 30.0
_CHUNK_BYTES = 1 << 20
_RANGE_NOT_SATISFIABLE = 416

_BASE_URL = "https://openaipublic.azureedge.net/clip/models"


@dataclass(frozen=True, kw_only=True)
class KnownModel:
    """One published model. `sha256` is that of the file; the identity of its content is another."""

    name: str
    file_name: str
    sha256: str
    dim: int
    input_size: int
    parameters: int | None = None  # of both towers, in millions
    published_r1: float | None = None  # zero-shot MSR-VTT 1k-A text-to-video R@1, in per cent
    source: str | None = None  # who published it
    base_url: str = _BASE_URL

    @property
    def url(self) -> str:
        """Where OpenAI publishes the file."""
        return f"{self.base_url}/{self.sha256}/{self.file_name}"


def download(
    model: KnownModel,
    target: Path,
    *,
    progress: Progress | None = None,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> Path:
    """Fetch `model` into `target`; `progress(bytes_there, bytes_in_all)` is called per chunk.

    Raises WeightsError when there is no network, or what came is not the published file.
    """
    from http.client import HTTPException  # with urllib 30 ms, which a query would pay that downloads nothing
    from ssl import SSLError
    from urllib.error import URLError

    part = target.with_name(f"{target.name}.part")
    while True:
        num_before = _size(part)
        try:
            if _fetch(model.url, part, progress=progress, timeout_seconds=timeout_seconds):
                break
            problem = "the connection broke"
        except (URLError, HTTPException, TimeoutError, ConnectionError, SSLError) as error:
            problem = str(getattr(error, "reason", "") or error)
        except OSError as error:
            raise WeightsError(
                f"cannot write {part}: {error.strerror or error}",
                allowed="weights need some hundred megabytes in a folder that can be written",
                to_do="free some space there or choose another cache folder, then run the same command again",
            ) from error
        if _size(part) <= num_before:  # as long as something comes, it is worth another attempt
            raise _unreachable(model, target, problem)
    found = file_sha256(part)
    if found != model.sha256:
        part.unlink()
        raise _unreachable(model, target, f"what came has SHA-256 {found}")
    return part.replace(target)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _fetch(url: str, part: Path, *, progress: Progress | None, timeout_seconds: float) -> bool:
    """Get what is still missing of `part`; False when the connection broke before the end."""
    import http.client
    import urllib.error
    import urllib.request

    num_there = _size(part)
    request = urllib.request.Request(url, headers={"Range": f"bytes={num_there}-"} if num_there else {})
    try:
        with urllib.request.urlopen(request, timeout=timeout_seconds) as response:
            if response.status != http.client.PARTIAL_CONTENT:
                num_there = 0  # the server sends the whole file
            num_bytes = num_there + int(response.headers.get("Content-Length") or 0)
            with part.open("ab" if num_there else "wb") as file:
                return _copy(response, file, num_there, num_bytes, progress=progress)
    except urllib.error.HTTPError as error:
        if error.code == _RANGE_NOT_SATISFIABLE and num_there:
            return True  # nothing is missing; the checksum decides
        raise


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _copy(
    response: HTTPResponse,
    file: BinaryIO,
    num_there: int,
    num_bytes: int,
    *,
    progress: Progress | None,
) -> bool:
    while chunk := response.read(_CHUNK_BYTES):
        file.write(chunk)
        num_there += len(chunk)
        if progress:
            progress(num_there, num_bytes)
    return num_there >= num_bytes


def _unreachable(model: KnownModel, target: Path, problem: str) -> WeightsError:
    return WeightsError(
        f"cannot download {model.name} ({problem})",
        allowed=f"it comes from {model.url}",
        to_do=f"put {target.name} (SHA-256 {model.sha256}) into {target.parent}, or pass --backbone FILE",
    )
