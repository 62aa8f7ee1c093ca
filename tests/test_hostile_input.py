"""Hostile input: wrong command lines and broken files, each refused on one line, with nothing left and nothing run."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import hostile_files as files
import hostile_words as words
import pytest
from forked_runs import content, fault, forked, import_everything
from hostile_cases import RUN_FOLDERS, TRAIN, HostileCase

SENTENCES = "\n\n".join(f"Sentence {i} of a text with {i % 7} words and {i % 11} others." for i in range(1500))
SHORT = 20  # of so many cases `make test` takes one
KINDS = (
    *(words.syntax, words.choices, words.values, words.unknown_keys, words.targets, words.wrong_checkpoints),
    *(files.damaged_checkpoints, files.damaged_state, files.damaged_graphs, files.damaged_sweeps, files.directories),
    *(files.texts, files.tokenizers, files.evaluations, words.sweeps, words.exports, words.combinations),
)


def all_cases() -> list[HostileCase]:
    """Every case, kind after kind; names are unique."""
    return [
        HostileCase(f"{kind.__name__}: {case.name}", case.words, case.damage, case.says)
        for kind in KINDS
        for case in kind()
    ]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a text, a run, what was exported of it, and a sweep."""
    import_everything()
    folder = tmp_path_factory.mktemp("hostile") / "world"
    folder.mkdir()
    (folder / "text.txt").write_text(SENTENCES)
    for command in (
        (*TRAIN, "hydra.run.dir=run"),
        (*TRAIN, "hydra.run.dir=sweep/0"),
        ("task=export", "checkpoint=run", "format=hf", "hydra.run.dir=exported"),
        ("task=export", "checkpoint=run", "format=onnx", "hydra.run.dir=exported_graph"),
    ):
        ended = forked(folder, list(command), folder.with_name("cache"))
        assert ended.code == 0, ended.err
    shutil.move(folder / "exported" / "hf", folder / "hf")
    shutil.move(folder / "exported_graph" / "onnx", folder / "onnx")
    shutil.rmtree(folder / "exported")
    shutil.rmtree(folder / "exported_graph")
    shutil.copytree(folder / "sweep" / "0", folder / "sweep" / "1")
    return folder


def faults(cases: Iterable[HostileCase], world: Path, folder: Path) -> list[str]:
    """A line for each case that is not refused as it should be."""
    found = []
    mark = folder / "code-ran"
    os.environ["HOSTILE_MARK"] = str(mark)
    for number, case in enumerate(cases):
        place = folder / str(number)
        place.mkdir()
        shutil.copy(world / "text.txt", place)
        named = " ".join([*case.words, case.name])
        for name in RUN_FOLDERS:
            if name in named:
                shutil.copytree(world / name, place / name)
        if case.damage:
            case.damage(place)
        before = content(place)
        ended = forked(place, list(case.words), world.with_name("cache"))
        wrong = fault(ended, before, content(place), case.says)
        if mark.exists():
            mark.unlink()
            wrong = "a stranger's code ran"
        if wrong:
            found.append(f"{case.name}: {wrong}")
        shutil.rmtree(place)
    return found


def test_there_are_enough_cases_of_different_names():
    names = [case.name for case in all_cases()]
    assert len(names) == len(set(names)) >= 300


@pytest.mark.slow
def test_some_of_the_hostile_input_is_refused(world, tmp_path):
    found = faults(all_cases()[::SHORT], world, tmp_path)
    assert not found, "\n".join(found)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_all_hostile_input_is_refused(world, tmp_path):
    found = faults(all_cases(), world, tmp_path)
    assert not found, f"{len(found)} of {len(all_cases())}\n" + "\n".join(found)
