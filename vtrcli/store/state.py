"""What a store is at this moment, in one word: it changes with everything that an answer rests on. Needs no NumPy."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from vtrcli.store.config import CONFIG_NAME, SHARD_FOLDER
from vtrcli.store.roots import ROOTS_NAME

_SUFFIX = ".safetensors"  # of shards and of the query bank


def store_state(store: Path) -> str:
    """32 hex digits, equal as long as the store is the same folder, with the same description, roots, bank and shards.

    Which file is which is told by device and inode, size and time: nothing is read. What is derived, kept frames,
    cached captions and failures are not looked at.

    Raises:
        OSError: there is no store, or it cannot be read.
    """
    real = os.path.realpath(store)
    rows = [(CONFIG_NAME, *_of_file(os.stat(os.path.join(real, CONFIG_NAME))))]
    for folder in (real, os.path.join(real, SHARD_FOLDER)):
        with os.scandir(folder) as entries:
            rows += sorted(
                (entry.name, *_of_file(entry.stat()))
                for entry in entries
                if entry.name == ROOTS_NAME or (entry.name.endswith(_SUFFIX) and entry.name[0] != ".")
            )
    return hashlib.sha256(json.dumps([real, rows]).encode()).hexdigest()[:32]


def _of_file(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
