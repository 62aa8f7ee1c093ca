"""How long it takes until work begins: of one run, of the jobs of a sweep, and of a sweep of a thousand jobs.

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
from pathlib import Path

from smallgpt.launch.forked_job import JobServers
from smallgpt.ranks import job_command, python_path

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


if __name__ == "__main__":
    main()
