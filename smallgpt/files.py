"""Files and folders that appear whole or not at all, what lies beside a missing one, and files that hold no code."""

import os
import shutil
import zipfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from smallgpt.errors import nearest, one_line, shown


def write_text(path: Path, text: str) -> None:
    """Writes a UTF-8 text file whole or not at all."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file under a temporary name first, so that a reader never sees half of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def whole_folder(target: Path) -> Generator[Path]:
    """Yields an empty folder to fill, which becomes `target` when it is complete; after an error nothing is left.

    Where there is a `target` already, its files are replaced one by one and what the new folder lacks is removed. Of
    two model folders of one run only the weights differ, so a reader finds a complete model at any moment.
    """
    partial = remove_partial(target)
    partial.mkdir(parents=True)
    try:
        yield partial
        readable = partial.stat().st_mode & 0o666
        for path in partial.rglob("*"):
            if path.is_file():
                path.chmod(readable)  # safetensors writes for the owner alone
                flush(path)
        if target.exists():
            replace_entries(target, partial)
        else:
            os.rename(partial, target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def remove_partial(target: Path) -> Path:
    """Removes what a killed process left of the folder `target` that it was writing; returns where that lies."""
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    return partial


def replace_entries(target: Path, new: Path) -> None:
    """Moves what lies in the folder `new` into `target`, and removes what lies only there."""
    names = {path.name for path in new.iterdir()}
    for path in target.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in names:
            path.unlink()
    for name in names:
        os.replace(new / name, target / name)
    new.rmdir()


def flush(path: Path) -> None:
    """Waits until a file's content is on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def size_of(folder: Path) -> int:
    """Bytes of the files that lie directly in a folder."""
    return sum(path.stat().st_size for path in folder.iterdir())


def nearest_beside(path: Path) -> str:
    """Hint `; did you mean 'x'?` at the nearest name that lies where a missing path would, or an empty text."""
    return nearest(path.name, [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else [])


def read_numbers_and_text(path: Path) -> Any:
    """Reads a file of PyTorch's that holds numbers and text alone; its numbers stay on the disk until they are used.

    Raises:
        ValueError: what is wrong with it; code in it is never run.
    """
    import torch

    if path.stat().st_size == 0:
        raise ValueError("it is empty")
    if not zipfile.is_zipfile(path):
        raise ValueError("it is cut off, or another kind of file")
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:
        # PyTorch advises to load it without its guard, which runs what lies in it
        foreign = "weights_only" in str(error)
        raise ValueError("it holds code, which is never run" if foreign else shown(one_line(error))) from error
