"""Files and folders that appear whole or not at all, and the names that lie beside a missing one."""

import os
import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from smallgpt.errors import nearest


@contextmanager
def new_folder(target: Path) -> Generator[Path]:
    """A folder to fill, which takes the name `target` at the end; after an error nothing is left."""
    unfinished = target.with_name(f".{target.name}")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        yield unfinished
        readable = unfinished.stat().st_mode & 0o666
        for path in unfinished.iterdir():
            path.chmod(readable)  # safetensors writes for the owner alone
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    shutil.rmtree(target, ignore_errors=True)
    os.replace(unfinished, target)


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Under a temporary name first, so that a reader never sees half of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def replace_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Has `write` fill a new folder, and puts its files in the place of `folder`'s one by one.

    Of a model folder only the weights differ between two saves of a run, so replacing that one file
    makes the whole folder new, and a reader finds a complete model at any moment.
    """
    unfinished = folder.with_name(f".{folder.name}")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        write(unfinished)
        readable = unfinished.stat().st_mode & 0o666
        for path in unfinished.iterdir():
            path.chmod(readable)  # safetensors writes for the owner alone
            flush(path)
    except Exception:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    if folder.exists():
        for path in unfinished.iterdir():
            os.replace(path, folder / path.name)
        unfinished.rmdir()
    else:
        os.rename(unfinished, folder)


def flush(path: Path) -> None:
    """Waits until a file's content is on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def nearest_beside(path: Path) -> str:
    """`; did you mean 'x'?` for the nearest name that lies where a missing path would, or nothing."""
    return nearest(path.name, [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else [])
