"""What it costs to start: one run, the jobs of a sweep, and a thousand jobs, from their checks to the report of all.

python -m benchmarks.startup [--jobs 1000]
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import Any

from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from smallgpt.files import write_text
from smallgpt.launch import resolvers, starter
from smallgpt.launch.composing import JobComposer
from smallgpt.launch.config_files import CONF
from smallgpt.launch.forked_job import JobServers
from smallgpt.launch.main import PLUGINS
from smallgpt.launch.sweep import launch
from smallgpt.launch.sweep_checks import JobChecks, check_grid
from smallgpt.launch.sweep_job import SweepJob
from smallgpt.ranks import job_command, python_path
from smallgpt.reporting.report import report
from smallgpt.reporting.study import read_study

ROUNDS = 7
SMOKE_JOBS = 12
RUN = str(Path(__file__).parents[1] / "run.py")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1000, help="jobs of the large sweep")
    jobs = parser.parse_args().jobs
    pairs = [(seconds(RUN, "--help"), seconds("-c", "import hydra")) for _ in range(ROUNDS)]
    ours, hydra = (statistics.median(times) for times in zip(*pairs, strict=True))
    print(f"run.py --help {ours:.2f} s, import hydra {hydra:.2f} s, ratio {ours / hydra:.2f}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        print(f"run.py task=inspect size=debug {seconds(RUN, 'task=inspect', 'size=debug'):.2f} s", flush=True)
        smoke_jobs(Path(folder))
        until_the_first(jobs)
        for number in (jobs // 4, jobs):  # as much a job, whatever their number, where nothing is quadratic
            beside_the_jobs(number)
        beside_the_jobs(jobs, "match=params")


def seconds(*words: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, *words], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def smoke_jobs(folder: Path) -> None:
    """A sweep of small jobs, and four of them again, in turn forked and by their own command."""
    words = ["-m", "debug=smoke", f"seed=range(1,{SMOKE_JOBS + 1})", "hydra.sweep.dir=smoke"]
    seconds(RUN, "task=prepare")  # the data, which the first job would wait for
    print(f"a sweep of {SMOKE_JOBS} smoke jobs {seconds(RUN, *words):.1f} s", flush=True)
    servers, env = JobServers(), os.environ | {"PYTHONPATH": python_path()}
    times: dict[str, list[float]] = {"forked": [], "own command": []}
    for number in range(5):
        for way in times:
            job = folder / f"{way} {number}"
            job.mkdir()
            for name in ("config.yaml", ".job.json"):
                shutil.copy(folder / "smoke" / str(number) / name, job)
            start = time.perf_counter()
            with (job / "log.txt").open("wb") as log:
                if way == "forked":
                    process = servers.start(job, env, log)
                else:
                    process = subprocess.Popen(job_command(job), env=env, stdout=log, stderr=log)
                while process.poll() is None:
                    time.sleep(0.01)
            took = time.perf_counter() - start
            training = json.loads((job / "result.json").read_text())["train"]["seconds"]
            if number:  # the first one waits for the imports of the server
                times[way].append(took - training)
    forked, own = (statistics.median(each) for each in times.values())
    print(f"a smoke job beside its training: forked {forked:.2f} s, own command {own:.2f} s, {own / forked:.1f} times")


def until_the_first(jobs: int) -> None:
    """A large sweep up to the moment when its first job starts."""
    rates = ",".join(f"{1e-3 * (1 + number / jobs):.6g}" for number in range(jobs // 4))
    words = ["-m", "model=gpt,lineargpt", f"optimizer.lr={rates}", "seed=1,2", "hydra.sweep.dir=large"]
    start = time.perf_counter()
    sweep = subprocess.Popen(
        [sys.executable, RUN, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert sweep.stderr is not None
    for line in sweep.stderr:
        if line.startswith("started "):
            print(f"{jobs // 4 * 4} jobs: the first started after {time.perf_counter() - start:.1f} s", flush=True)
            break
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    sweep.terminate()
    sweep.communicate()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    print(f"its starter used {used:.1f} s of CPU, with that of the job")


class Ended:
    """Process of a job that has done all it had to."""

    def poll(self) -> int:
        return 0

    def terminate(self) -> None:
        pass


class NoMachines:
    """Stands in for machines: a job has its result as soon as it starts."""

    n_jobs, queues = 1, False

    def check(self, trainer: Any) -> None:
        pass

    def start(self, jobs: list[SweepJob]) -> None:
        for job in jobs:
            words = dict(word.split("=") for word in job.overrides)
            loss = 3 + 0.001 * (job.number % 7)
            result = {"status": "completed", "task": "train", "variant": words["model"], "seed": int(words["seed"])}
            result |= {"overrides": job.overrides, "val": {"loss": loss}, "cost": {"parameters": 1000}}
            write_text(job.run_dir / "result.json", json.dumps(result))
            job.process = Ended()

    def stop(self, jobs: list[SweepJob]) -> str:
        return ""


def beside_the_jobs(jobs: int, *more: str) -> None:
    """CPU time of a sweep whose jobs take none: to check them, to start and collect them, and to report them."""
    starter.POLL_SECONDS = 0.0
    resolvers.register()
    sys.path.append(PLUGINS)  # Hydra looks for its launchers there
    folder = Path("_".join(["beside", str(jobs), *more]))
    words = [[f"model={model}", f"optimizer.lr={rate}", f"seed={seed}", *more] for model, rate, seed in grid(jobs)]
    times = [time.process_time()]
    with initialize_config_dir(str(CONF), version_base="1.3"), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        loader = GlobalHydra.instance().config_loader()
        asked = ["hydra.mode=MULTIRUN", f"hydra.sweep.dir='{folder}'"]
        sweep = loader.load_configuration("config", asked, RunMode.RUN)
        HydraConfig.instance().set_config(sweep)
        composer = JobComposer(loader, sweep)
        with resolvers.jobs_of(sweep):
            possible = check_grid(JobChecks(composer), words)
        times.append(time.process_time())
        launch(composer, possible, 0, NoMachines())
        times.append(time.process_time())
        report(read_study([folder]), folder)
        times.append(time.process_time())
    spent = [1000 * (now - then) / jobs for then, now in pairwise(times)]
    checked, started, reported = spent
    named = " ".join([f"{jobs} jobs", *more])
    print(f"{named}, ms of CPU a job: checks {checked:.1f}, start and end {started:.1f}, report {reported:.1f}")


def grid(jobs: int) -> list[tuple[str, float, int]]:
    """Variant, learning rate and seed of each job."""
    rates = [float(f"{1e-3 * (1 + number / jobs):.6g}") for number in range(jobs // 4)]
    return [(model, rate, seed) for model in ("gpt", "lineargpt") for rate in rates for seed in (1, 2)]


if __name__ == "__main__":
    main()
