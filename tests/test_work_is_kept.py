"""Work is not lost at the end, when an output or a folder cannot be written to, or a sample cannot be shown."""

import errno
import io
import json
import os
import shutil
from pathlib import Path

import pytest
from forked_runs import Ended, forked, import_everything
from hostile_cases import TRAIN

from smallgpt.launch import job
from smallgpt.launch.standard_streams import SteadyStream, lost_output
from smallgpt.notices import printable

SENTENCES = "\n\n".join(f"Sentence {i} of a text with {i % 7} words and {i % 11} others." for i in range(1500))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import_everything()
    folder = tmp_path_factory.mktemp("kept") / "place"
    folder.mkdir()
    (folder / "text.txt").write_text(SENTENCES)
    return folder


def trained(place: Path, name: str, **how) -> Ended:
    return forked(place, [*TRAIN, f"hydra.run.dir={name}"], place.with_name("cache"), **how)


def status(run_dir: Path) -> str:
    return json.loads((run_dir / "result.json").read_text())["status"]


def test_an_output_that_is_not_utf8_takes_every_sample(place):
    ended = trained(place, "ascii", encoding="ascii")
    assert ended.code == 0, ended.err
    assert status(place / "ascii") == "completed"
    assert ended.out.isascii() and "--- sample ---" in ended.out


def test_a_full_output_is_told_in_a_line_and_the_run_is_completed(place):
    ended = trained(place, "full", to=Path("/dev/full"))
    assert ended.code == 1
    assert status(place / "full") == "completed"
    errors = [line for line in ended.err.splitlines() if line.startswith("error: ")]
    assert errors == [
        "error: standard output: No space left on device; what was printed is lost, not what was written to files"
    ]


def test_a_reader_that_has_gone_is_no_trouble(place):
    reading, writing = os.pipe()
    os.close(reading)
    ended = trained(place, "head", to=writing)
    os.close(writing)
    assert ended.code == 0
    assert status(place / "head") == "completed"
    assert "error" not in ended.err and "Traceback" not in ended.err


def test_a_result_that_cannot_be_written_goes_elsewhere_and_is_named(tmp_path, monkeypatch, capsys):
    run_dir = tmp_path / "run"
    run_dir.mkdir()

    def refuse(path: Path, *_):
        if path == run_dir:
            raise OSError(errno.EROFS, "Read-only file system")
        write(path, *_)

    write = job.write_result
    monkeypatch.setattr(job, "write_result", refuse)
    job.finish(run_dir, {"status": "completed", "error": None}, alone=True)
    out, err = capsys.readouterr()
    [line] = err.splitlines()
    assert line.startswith(f"error: {run_dir}/result.json: Read-only file system; the result is in ")
    elsewhere = Path(line.rpartition(" ")[2])
    assert json.loads(elsewhere.read_text())["status"] == "completed"
    assert json.loads(out.splitlines()[-1])["status"] == "completed"
    shutil.rmtree(elsewhere.parent)


def test_characters_that_a_stream_lacks_become_escapes():
    below = io.TextIOWrapper(io.BytesIO(), encoding="latin-1", newline="\n")
    stream = SteadyStream(below)
    stream.write("ö \u4e2d \ud800\n")
    stream.flush()
    assert below.buffer.getvalue() == b"\xf6 \\u4e2d \\ud800\n"
    assert lost_output(stream) is None


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\ttext\n", "plain\ttext\n"),
        ("naïve 中文 👩\u200d🔬", "naïve 中文 👩\u200d🔬"),
        ("\x1b[2J\x1b]0;title\x07", "\\x1b[2J\\x1b]0;title\\x07"),
        ("back\x08 and\r over", "back\\x08 and\\r over"),
        ("\x9b31m \x7f", "\\x9b31m \\x7f"),
        ("right\u202eleft", "right\\u202eleft"),
        ("half \ud800", "half \\ud800"),
    ],
)
def test_what_commands_a_terminal_becomes_an_escape(text, shown):
    assert printable(text) == shown
