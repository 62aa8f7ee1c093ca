#!/usr/bin/env python3
"""As much of Slurm as submitit talks to, on one machine; the name of the link to this file says which program it is.

FAKE_SLURM names a folder: the submitted files, `ID.state` of each job and `ID.pids` of its processes.
"""

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

FOLDER = Path(os.environ["FAKE_SLURM"])
NOTHING: dict = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)


def sbatch(script: str) -> None:
    job = str(100 + len(list(FOLDER.glob("*.sh"))))
    text = Path(script).read_text()
    (FOLDER / f"{job}.sh").write_text(text)
    array = re.search(r"--array=(\d+)-(\d+)", text)
    for number in range(int(array[1]), int(array[2]) + 1) if array else [None]:
        name = job if number is None else f"{job}_{number}"
        (FOLDER / f"{name}.state").write_text("PENDING")
        daemon = [sys.executable, str(Path(__file__).resolve()), name]
        subprocess.Popen(daemon, start_new_session=True, **NOTHING)
    print(f"Submitted batch job {job}")


def work(name: str) -> None:
    """What the daemon on a machine does, until the job is not queued again."""
    job, _, number = name.partition("_")
    text = (FOLDER / f"{job}.sh").read_text()
    flags = dict(re.findall(r"#SBATCH --([\w-]+)=(\S+)", text))
    env = os.environ | {
        "SLURM_JOB_ID": f"{job}{number}",
        "SLURM_NTASKS": flags["ntasks-per-node"],
        "SLURM_NTASKS_PER_NODE": flags["ntasks-per-node"],
        "SLURM_JOB_NUM_NODES": "1",
        "SLURM_NNODES": "1",
        "SLURM_NODELIST": "127.0.0.1",
        "SLURM_JOB_NAME": shlex.split(flags["job-name"])[0],
        "FAKE_SLURM_NAME": name,
    }
    if number:
        env |= {"SLURM_ARRAY_JOB_ID": job, "SLURM_ARRAY_TASK_ID": number}
    state = FOLDER / f"{name}.state"
    while True:
        state.write_text("RUNNING")
        code = subprocess.run(["bash", str(FOLDER / f"{job}.sh")], env=env).returncode
        if state.read_text() != "REQUEUED":
            state.write_text("COMPLETED" if code == 0 else "FAILED")
            return


def srun(words: list[str]) -> None:
    command = words[words.index(next(w for w in words if not w.startswith("-") and "python" in w)) :]
    log = Path(words[words.index("--output") + 1].replace("%j", os.environ["SLURM_JOB_ID"]))
    log = Path(re.sub("%A|%a|%t", "x", str(log)))
    tasks = os.environ["SLURM_NTASKS"]
    processes = []
    with log.open("ab") as output:
        for rank in range(int(tasks)):
            ranks = {"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank), "SLURM_NODEID": "0"}
            env = os.environ | ranks | {"SLURM_STEP_NUM_TASKS": tasks}
            processes.append(subprocess.Popen(command, env=env, stdout=output, stderr=output))
    pids = FOLDER / f"{os.environ['FAKE_SLURM_NAME']}.pids"
    pids.write_text(" ".join(str(process.pid) for process in processes))
    sys.exit(max(abs(process.wait()) for process in processes))


def sacct() -> None:
    print("JobID|State|NodeList")
    for path in FOLDER.glob("*.state"):
        print(f"{path.stem}|{path.read_text()}|here")


def scancel(name: str, number: str) -> None:
    for pid in (FOLDER / f"{name}.pids").read_text().split():
        os.kill(int(pid), signal.Signals[number])


if __name__ == "__main__":
    match Path(sys.argv[0]).name, sys.argv[1:]:
        case "sbatch", [script]:
            sbatch(script)
        case "srun", words:
            srun(words)
        case "sacct", _:
            sacct()
        case "scancel", [name, "--signal", number]:
            scancel(name, number)
        case "scontrol", ["requeue", name]:
            (FOLDER / f"{name}.state").write_text("REQUEUED")
        case _, [name]:
            work(name)
