"""Files that are there whole or not at all, and patterns of their names. The bottom layer, beside `errors`."""

from __future__ import annotations

import contextlib
import errno
import fnmatch
import os
import re
import stat
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from vtrcli.errors import StoreError, UsageError, VtrError

TEMPORARY_PREFIX = ".tmp-"
# A writer renames its temporary file within minutes; what nobody wrote to for an hour has lost its writer, even on a
# slow network disk.
ABANDONED_SECONDS = 3600.0
_TEMPORARY_NAME = re.compile(rf"{re.escape(TEMPORARY_PREFIX)}[0-9a-f]{{16}}(\.\w+)?")
# What FAT, exFAT, CIFS, FUSE and shared folders of virtual machines answer to chmod and to fsync of a folder.
_NOT_SUPPORTED = frozenset(
    (
        errno.EINVAL,
        errno.EPERM,
        errno.EACCES,
        errno.EBADF,
        errno.EISDIR,
        errno.ENOSYS,
        errno.ENOTTY,
        errno.ENOTSUP,
        errno.EOPNOTSUPP,
    )
)
_NO_RENAME_OVER = frozenset((errno.EEXIST, errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EINVAL))
# A link could lead to any file of the user's, and a pipe keep us waiting.
_APPEND_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT
_APPEND_FLAGS |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
# What a file system without locks answers; anything else means that another holds it.
_NO_LOCKS = frozenset((errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP))
LOCK_SECONDS, _LOCK_STEP_SECONDS = 10.0, 0.01
LONGEST_SUFFIX = 16  # ".safetensors" and ".mp4": some writers choose the format by it


@contextlib.contextmanager
def replacing(path: Path, *, error: type[VtrError] = StoreError) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is fsynced and renamed over `path`.

    On any exception, Ctrl-C too, the temporary file is removed and `path` is untouched.

    Raises:
        error: (StoreError by default) the folder cannot be written or the disk is full.
    """
    with _temporary(path, error) as temporary:
        yield temporary
        _sync(temporary)
        _move(temporary, path)


@contextlib.contextmanager
def staged(folder: Path, body: bytes, *, suffix: str, error: type[VtrError] = StoreError) -> Iterator[Path]:
    """Yield a temporary file of `folder` that holds `body`, already fsynced: all that `publish` does to it is a rename.

    It is removed at the end unless it was published.

    Raises:
        error: (StoreError by default) the folder cannot be written or the disk is full.
    """
    with _temporary(folder / f"x{suffix}", error) as temporary:
        with open(temporary, "xb") as file:
            file.write(body)
        _sync(temporary)
        yield temporary


def make_folder(
    folder: Path, *, what: str = "the folder", error: type[VtrError] = StoreError, allowed: str, to_do: str
) -> None:
    """Make a folder unless it is there. Raises `error` (StoreError by default) when that cannot be done."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as cause:
        raise error(
            f"cannot make {what} {folder}: {cause.strerror or cause}", allowed=allowed, to_do=to_do
        ) from cause


def publish(temporary: Path, path: Path) -> None:
    """Give a staged file its name. Raises OSError, which `staged` turns into its error."""
    _move(temporary, path)


def write_whole(path: Path, chunks: bytes | Iterable[bytes], *, error: type[VtrError] = StoreError) -> None:
    """Write `chunks` to `path` through `replacing`."""
    with replacing(path, error=error) as temporary, open(temporary, "xb") as file:
        for chunk in (chunks,) if isinstance(chunks, bytes) else chunks:
            file.write(chunk)


def read_lines(path: Path, *, to_do: str) -> list[str]:
    """The lines of a file that has one JSON object in each; none where there is no such file.

    Raises:
        StoreError: it is there but cannot be read; `to_do` says what helps.
    """
    try:
        return read_regular(path).splitlines()
    except FileNotFoundError:
        return []
    except OSError as cause:
        raise StoreError(
            f"cannot read {path}: {cause.strerror}",
            allowed="a readable file, one JSON object per line",
            to_do=to_do,
        ) from cause


def append_lines(path: Path, lines: Iterable[str], *, error: type[VtrError] = StoreError) -> None:
    """Add lines to a file in one write, so that several processes may append at once.

    Raises:
        error: (StoreError by default) the file cannot be written.
    """
    # The newline in front ends a line that a kill or a full disk tore, which would swallow this one.
    body = "".join(f"\n{line}\n" for line in lines).encode()
    try:
        descriptor = os.open(path, _APPEND_FLAGS, 0o644)
        try:
            if os.write(descriptor, body) != len(body):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(descriptor)
    except OSError as cause:
        raise error(
            f"cannot write {path}: {cause.strerror}",
            allowed="the store's folder must be writable and the disk must have room",
            to_do="free some space, then run the same command again",
        ) from cause


@contextlib.contextmanager
def locked(path: Path, *, timeout_seconds: float = LOCK_SECONDS) -> Iterator[None]:
    """Hold the lock of a file, made for that alone: no thread and no process holds it at the same time.

    It ends with its holder, killed or not. A file system without locks gives none.

    Raises:
        StoreError: the file cannot be made, or another holds its lock for longer than the limit.
    """
    try:
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
        descriptor = os.open(path, flags, 0o644)
    except OSError as cause:
        raise StoreError(
            f"cannot write {path}: {cause.strerror}",
            allowed="the store's folder must be writable",
            to_do="make it writable, then try again",
        ) from cause
    try:
        until = time.monotonic() + timeout_seconds
        while not _try_lock(descriptor):
            if time.monotonic() > until:
                raise StoreError(
                    f"{path} is locked for more than {timeout_seconds:g} s",
                    allowed="one writer at a time; each takes milliseconds",
                    to_do="try again; if it stays so, end the process that hangs",
                )
            time.sleep(_LOCK_STEP_SECONDS)
        yield
    finally:
        os.close(descriptor)  # which gives the lock back


def _try_lock(descriptor: int) -> bool:
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as cause:
        return cause.errno in _NO_LOCKS
    return True


def is_abandoned(path: Path) -> bool:
    """Whether nobody has written to a file for so long that its writer is gone."""
    try:
        return time.time() - path.lstat().st_mtime > ABANDONED_SECONDS
    except OSError:  # its writer has just renamed it
        return False


def remove_abandoned(folder: Path) -> None:
    """Delete the temporary files that killed writers left in a folder; what cannot be deleted, or read, stays."""
    with contextlib.suppress(OSError):
        for entry in list(os.scandir(folder)):
            if _TEMPORARY_NAME.fullmatch(entry.name) and is_abandoned(Path(entry.path)):
                with contextlib.suppress(OSError):
                    os.unlink(entry.path)


def as_on_disk(path: Path) -> Path:
    """A path with each name in the Unicode form that the disk has it in: é is one character in some, two in others."""
    if os.path.lexists(path) or path == path.parent:
        return path
    folder = as_on_disk(path.parent)
    forms = (path.name, *(unicodedata.normalize(form, path.name) for form in ("NFC", "NFD")))
    return next((folder / form for form in forms if os.path.lexists(folder / form)), path)


def read_regular(path: Path) -> str:
    """The text of a file; what is not UTF-8 in it is replaced.

    Raises:
        OSError: it cannot be read, or is a pipe or a device, which might never end.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    with open(descriptor, encoding="utf-8", errors="replace") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        return file.read()


def unreadable(path: Path, cause: OSError) -> StoreError:
    """The error for a file that the system does not let us read: it may be as sound as ever."""
    if cause.errno in (errno.EMFILE, errno.ENFILE):
        return StoreError(
            f"{path} cannot be opened: too many open files",
            allowed="a few dozen open files at least",
            to_do="raise the limit (`ulimit -n 1024`), then run the same command again",
        )
    return StoreError(
        f"{path} cannot be read: {cause.strerror or cause}",
        allowed="a file that stays where it is and that you may read",
        to_do="check the disk and the permissions, then run the same command again",
    )


def is_gone(path: str | os.PathLike[str]) -> bool:
    """Whether a file is surely not there. One that may not be looked at is."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):
        return False
    return False


@contextlib.contextmanager
def _temporary(path: Path, error: type[VtrError]) -> Iterator[Path]:
    # Nothing of the user's name goes in: a name near the limit of 255 bytes leaves no room for a prefix.
    suffix = path.suffix if path.suffix.isascii() and len(path.suffix) <= LONGEST_SUFFIX else ""
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{os.urandom(8).hex()}{suffix}")
    try:
        yield temporary
    except OSError as cause:
        raise error(
            f"cannot write {path}: {cause.strerror or cause}",
            allowed="the folder must be writable and the disk must have room",
            to_do="free some space or choose another place, then run the same command again",
        ) from cause
    finally:
        with contextlib.suppress(OSError):  # it must not hide why the write failed
            temporary.unlink()


def _sync(path: Path) -> None:
    """Put a file's bytes on the disk, and let those read it who may enter its folder."""
    with open(path, "rb+") as file:
        _fsync(file.fileno())
    # Some writers make files that only their owner may read. FAT, exFAT and some network mounts have no modes.
    with _where_supported():
        path.chmod(path.parent.stat().st_mode & 0o666 | 0o600)


def _move(temporary: Path, path: Path) -> None:
    """Rename over `path`, and make the rename survive a power cut."""
    try:
        os.replace(temporary, path)
    except OSError as cause:
        if cause.errno not in _NO_RENAME_OVER or not path.exists():
            raise
        path.unlink()  # a file system that renames to free names only: for a moment there is neither
        os.replace(temporary, path)
    if os.name == "nt":
        return
    with _where_supported():
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            _fsync(descriptor)
        finally:
            os.close(descriptor)


def _fsync(descriptor: int) -> None:
    with _where_supported():
        os.fsync(descriptor)


@contextlib.contextmanager
def _where_supported() -> Iterator[None]:
    """Let a refusal of what the file system does not know pass; a failing disk is no such refusal."""
    try:
        yield
    except OSError as cause:
        if cause.errno not in _NOT_SUPPORTED:
            raise


def path_matcher(pattern: str) -> Callable[[str], bool]:
    """Whether a path is one that a pattern of the user means; upper and lower case, NFC and NFD are the same.

    A name or path means a file, or a folder with all that lies in it, wherever it is: `kitchen` and `kitchen/a.mp4`
    find `/home/me/kitchen/a.mp4`. A glob (`*`, `?`, `[ab]`) without `/` is compared with the file's name, any other
    with the whole path or any end of it that begins at a folder: `kitchen/*.mp4`. `*` also matches `/`, as in a
    shell's `**`. A `/` at the end means folders alone. What only looks like a glob finds itself too:
    `clip [1080p].mp4`.

    Raises:
        UsageError: an empty pattern, as an unset variable of a shell leaves it.
    """
    if not pattern:
        raise UsageError(
            "an empty pattern of paths",
            allowed="a name, a path, or a glob such as '*.mp4'",
            to_do="write one, or leave the option out",
        )
    matches = folded_matcher(pattern)
    return lambda path: matches(folded_path(path))


def folded_matcher(pattern: str) -> Callable[[str], bool]:
    """As `path_matcher`, of a pattern that is not empty and of paths as `folded_path` gives them."""
    wanted = folded_path(pattern)
    bare, behind = wanted.rstrip("/"), "" if wanted.endswith("/") else "/"
    is_absolute = wanted.startswith("/")
    glob: Callable[[str], object] | None = None
    if any(character in wanted for character in "*?["):
        whole = bare if behind else f"{bare}/*"
        if "/" in whole and not whole.startswith(("/", "*")):
            whole = f"*/{whole}"
        glob = re.compile(fnmatch.translate(whole)).match
        by_name = "/" not in whole

    def matches(path: str) -> bool:
        rooted = path if path.startswith("/") else f"/{path}"  # a relative path begins at a folder, too
        if is_absolute and f"{path}{behind}".startswith(f"{bare}/"):
            return True
        if not is_absolute and f"/{bare}/" in f"{rooted}{behind}":
            return True
        return glob is not None and bool(glob(rooted.rpartition("/")[2] if by_name else rooted))

    return matches


def folded_path(path: str) -> str:
    """A path as patterns see it."""
    return (path if path.isascii() else unicodedata.normalize("NFC", path)).lower()


def folded_paths(paths: Sequence[str]) -> list[str]:
    """The same of many, in one go: nothing composes across a NUL, which no path of a file holds."""
    folded = folded_path("\0".join(paths)).split("\0")
    return folded if len(folded) == len(paths) else list(map(folded_path, paths))
