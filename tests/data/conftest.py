"""Small corpora of every kind, and one of them prepared."""

import os
from pathlib import Path

import pytest
from small_stories import story

from smallgpt.data.files import Files
from smallgpt.data.prepare import prepare
from smallgpt.data.prepared_data import PreparedData
from smallgpt.data.tokenizers import TrainedBPE


@pytest.fixture(scope="session")
def stories() -> list[str]:
    return [story(seed) for seed in range(200)]


@pytest.fixture(scope="session")
def story_folder(stories: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 plain-text files, one story each."""
    folder = tmp_path_factory.mktemp("stories")
    for number, text in enumerate(stories):
        (folder / f"story_{number:03}.txt").write_text(text)
    return folder


@pytest.fixture(scope="session")
def prepared(story_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    corpus = Files(path=str(story_folder), holdout=0.1)
    cache = tmp_path_factory.mktemp("cache")
    return prepare(corpus, TrainedBPE(vocab_size=400), cache, progress=False, workers=1)


@pytest.fixture
def real_data() -> Path:
    """A folder of real corpora and tokenizers, where a machine has one."""
    folder = os.environ.get("SMALLGPT_TEST_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("SMALLGPT_TEST_DATA names no folder")
    return Path(folder)
