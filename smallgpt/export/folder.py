"""A folder that appears whole or not at all."""

import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


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
