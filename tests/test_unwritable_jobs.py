"""A job whose own directory takes no files fails alone; the sweep goes on and its report names the job."""

import json
import shutil
import sys

import pytest

from smallgpt.launch.this_machine import ThisMachine

WORK = "from smallgpt.targets import task\n@task\ndef fine(settings, run_dir):\n    return {}\n"


class Ended:
    """Process that has done its job before it was asked."""

    def __init__(self, code: int) -> None:
        self.code = code

    def poll(self) -> int:
        return self.code

    def terminate(self) -> None:
        pass


@pytest.fixture
def sweep(cli, monkeypatch):
    """Starts a sweep of three seeds, of which job 1 ends as a function makes it."""
    (cli.folder / "work.py").write_text(WORK)
    monkeypatch.syspath_prepend(str(cli.folder))
    monkeypatch.setattr("smallgpt.launch.starter.POLL_SECONDS", 0.0)
    monkeypatch.setattr("smallgpt.reporting.report.report", lambda study, folder: {})

    def sweep(end=None):
        def start(self, jobs):
            for job in jobs:
                job.process = Ended(0)
                if end is not None and job.run_dir.name == "1":
                    job.process = Ended(end(job.run_dir))
                else:
                    result = {"status": "completed", "task": "inspect", "overrides": job.overrides}
                    (job.run_dir / "result.json").write_text(json.dumps(result))

        monkeypatch.setattr(ThisMachine, "start", start)
        return cli("-m", "task._target_=work.fine", "seed=1,2,3", "hydra.sweep.dir=sweep")

    yield sweep
    sys.modules.pop("work", None)


def test_a_folder_that_takes_no_files_fails_its_job_alone(cli, sweep):
    (cli.folder / "sweep").mkdir()
    place = cli.folder / "sweep" / "1"
    place.write_text("a file lies where the folder would")
    outcome = sweep()
    assert outcome.code == 1
    assert outcome.result | {"status": "failed", "jobs": 3, "completed": 2} == outcome.result
    assert "1 seed=2: failed: sweep/1: cannot be written (File exists)" in outcome.err
    place.unlink()
    outcome = sweep()
    assert outcome.code == 0 and outcome.result["completed"] == 3
    assert not (cli.folder / "sweep" / "unwritable.json").exists()


def test_a_folder_that_is_removed_fails_its_job_alone(cli, sweep):
    def end(run_dir):
        shutil.rmtree(run_dir)
        return 1

    outcome = sweep(end)
    assert outcome.code == 1
    assert outcome.result | {"status": "failed", "jobs": 3, "completed": 2} == outcome.result
    assert "1 seed=2: failed: ended with exit code 1; see log.txt; " in outcome.err
    assert "[3/3]" in outcome.err


def test_a_job_that_dies_while_it_runs_again_has_failed(cli, sweep):
    def end(run_dir):
        (run_dir / "result.json").write_text(json.dumps({"status": "running"}))
        return 1

    outcome = sweep(end)
    assert "1 seed=2: failed: ended with exit code 1; see log.txt" in outcome.err and outcome.code == 1
