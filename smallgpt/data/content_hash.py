"""Hashes of files by their content, remembered so that large files are read once."""

import hashlib
import json
import re
import time
from pathlib import Path

from smallgpt.files import write_text

SMALL_BYTES = 1 << 24
# A file younger than this could change again without a new time stamp.
SETTLED_SECONDS = 5


def hash_of(path: Path) -> str:
    """SHA-256 of the content of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_hash(path: Path, cache_dir: Path) -> str:
    """SHA-256 of the content of a file; that of a large one is remembered under its path, size and times."""
    if path.stat().st_size < SMALL_BYTES:
        return hash_of(path)
    key = _state(path)
    name = hashlib.sha256(json.dumps(key).encode()).hexdigest()
    record = cache_dir / "hashes" / name
    if (remembered := _remembered(record)) is not None:
        return remembered
    content = hash_of(path)
    settled = time.time() - SETTLED_SECONDS > path.stat().st_ctime
    if settled and _state(path) == key:
        try:
            record.parent.mkdir(parents=True, exist_ok=True)
            write_text(record, content)
        except OSError:  # it is read again next time; what needs the cache says so itself
            pass
    return content


def _remembered(record: Path) -> str | None:
    try:
        content = record.read_text()
    except (OSError, ValueError):
        return None
    return content if re.fullmatch("[0-9a-f]{64}", content) else None


def _state(path: Path) -> list[str | int]:
    status = path.stat()
    # The time of the last change of any kind, for the other one can be set at will.
    times = [status.st_mtime_ns, status.st_ctime_ns]
    return [str(path.resolve()), status.st_size, *times]
