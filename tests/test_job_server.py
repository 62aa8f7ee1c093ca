"""Jobs that a job server forks: each as if it had been started by its own command, and no other suffers from it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from smallgpt.launch import forked_job
from smallgpt.launch.forked_job import ForkedJob, JobServer, JobServers
from smallgpt.launch.this_machine import ThisMachine
from smallgpt.ranks import python_path
from smallgpt.settings import Trainer

ENV = os.environ | {"PYTHONPATH": python_path()}

SERVER = """
import os, socket, sys
from smallgpt.launch import job_server, process
def imports():  # which takes seconds
    job_server.imported = open(os.environ["CODE"]).read()
    if changed := os.environ.get("CHANGED_MEANWHILE"):
        open(os.environ["CODE"], "w").write(changed)

job_server.import_what_jobs_use = imports
job_server.can_fork = lambda: not os.environ.get("USELESS")
job_server.code_state = lambda: open(os.environ["CODE"]).read()
process.main = lambda run_dir: exec((run_dir / "job.py").read_text()) or 0
sys.exit(job_server.main(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2])))
"""
STARTER = """
import os, sys, time
from pathlib import Path
from smallgpt.launch.forked_job import JobServer, JobServers
command = [sys.executable, "-c", os.environ["SERVER"]]
JobServer.command = staticmethod(lambda number: [*command, str(number), str(os.getpid())])
servers = JobServers()
with open("log.txt", "wb") as log:
    print(servers.start(Path("job"), dict(os.environ), log).pid, flush=True)
time.sleep(60)
"""
Start = Callable[..., ForkedJob]


def until(condition: Callable[[], object], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def code_of(job: ForkedJob) -> int | None:
    until(lambda: job.poll() is not None)
    return job.poll()


@pytest.fixture
def servers(tmp_path, monkeypatch) -> JobServers:
    command = [sys.executable, "-c", SERVER]
    monkeypatch.setattr(JobServer, "command", staticmethod(lambda number: [*command, str(number), str(os.getpid())]))
    (tmp_path / "code").write_text("1")
    return JobServers()


@pytest.fixture
def start(servers, tmp_path) -> Start:
    """Starts a job that runs these lines of Python; it prints into `NAME.txt`."""

    def start(name: str, lines: str, **env: str):
        (tmp_path / name).mkdir()
        (tmp_path / name / "job.py").write_text(lines)
        with (tmp_path / f"{name}.txt").open("wb") as log:
            return servers.start(tmp_path / name, {**ENV, "CODE": str(tmp_path / "code"), **env}, log)

    return start


def server_of(servers: JobServers) -> int:
    [server] = servers.servers.values()
    assert server is not None
    end = server.end.peek()
    assert end is not None
    return end[2][1].pid


ITSELF = """
import os, random, sys, numpy
print(os.getpid() == os.getsid(0), os.getppid(), sys.argv[1:], sys.stdin.read(), os.environ["OF_THE_JOB"])
print(random.random(), numpy.random.random(), file=sys.stderr)
"""


def test_a_forked_job_is_as_one_that_was_started(start, servers, tmp_path):
    jobs = [start(name, ITSELF, OF_THE_JOB="1") for name in ("a", "b")]
    assert [code_of(job) for job in jobs] == [0, 0]
    texts = [(tmp_path / f"{name}.txt").read_text().splitlines() for name in ("a", "b")]
    for name, lines in zip(("a", "b"), texts, strict=True):
        assert f"True {os.getpid()} ['{tmp_path / name}', '{os.getpid()}']  1" in lines
    numbers = [next(line for line in lines if line.startswith("0.")).split() for lines in texts]
    assert numbers[0][0] != numbers[1][0] and numbers[0][1] != numbers[1][1]
    start("c", "", OF_THE_JOB="2")
    assert len(servers.servers) == 2  # what is imported has read the environment


def test_a_job_that_dies_takes_nothing_with_it(start, servers):
    waiting = start("waiting", "import time; time.sleep(60)")
    server = server_of(servers)
    assert code_of(start("killed", "import os; os.kill(os.getpid(), 9)")) == -signal.SIGKILL
    assert code_of(start("failed", "import sys; sys.exit(3)")) == 3
    assert code_of(start("raised", "1 / 0")) == 1
    assert server_of(servers) == server and waiting.poll() is None
    os.kill(server, signal.SIGKILL)
    assert code_of(start("next", "")) == 0
    assert server_of(servers) != server and waiting.poll() is None  # a job outlives its server
    waiting.terminate()
    assert code_of(waiting) == -signal.SIGTERM


def test_a_job_runs_the_code_that_is_there_when_it_starts(start, servers, tmp_path):
    start("before", "")
    server = server_of(servers)
    (tmp_path / "code").write_text("2")
    assert code_of(start("after", "")) == 0
    assert server_of(servers) != server


def test_code_that_changes_while_it_is_imported_is_imported_again(start, servers, tmp_path):
    lines = "from smallgpt.launch import job_server; print(job_server.imported)"
    assert code_of(start("job", lines, CHANGED_MEANWHILE="2")) == 0
    assert (tmp_path / "job.txt").read_text() == "2\n"
    assert server_of(servers)  # it had forked nothing before, and another one took its place


def test_without_a_server_a_job_is_started_by_its_own_command(start, servers, monkeypatch):
    monkeypatch.setattr(forked_job, "job_command", lambda run_dir: [sys.executable, "-c", "import sys; sys.exit(7)"])
    jobs = [start(name, "", USELESS="1") for name in ("a", "b")]
    assert [code_of(job) for job in jobs] == [7, 7]
    assert list(servers.servers.values()) == [None]  # it is not tried again


def test_a_job_ends_with_the_starter(tmp_path):
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "job.py").write_text("import time; print('begun', flush=True); time.sleep(60)")
    (tmp_path / "code").write_text("1")
    env = {**ENV, "SERVER": SERVER, "CODE": str(tmp_path / "code")}
    starter = subprocess.Popen([sys.executable, "-c", STARTER], cwd=tmp_path, env=env, stdout=subprocess.PIPE)
    assert starter.stdout is not None
    number = int(starter.stdout.readline())
    until(lambda: "begun" in (tmp_path / "log.txt").read_text())
    starter.kill()
    starter.communicate()
    until(lambda: not alive(number))


def alive(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_what_jobs_use_is_imported_without_threads():
    code = "from smallgpt.launch.job_server import *; import_what_jobs_use(); sys.exit(not can_fork())"
    assert subprocess.run([sys.executable, "-c", code], env=ENV | {"OMP_NUM_THREADS": "2"}).returncode == 0


def test_the_server_of_the_jobs_imports_while_they_are_checked(monkeypatch):
    asked = []
    monkeypatch.setattr(JobServers, "server", lambda self, env: asked.append(env))
    machine, plain = ThisMachine(2), {"trainer": {"accelerator": "cpu", "devices": 1}}
    machine.expect({"trainer": {"accelerator": "cpu", "devices": -1}})
    machine.expect({"trainer": None})
    assert not asked  # the checks say what is wrong
    machine.expect(plain)
    monkeypatch.setenv("SET_BY_AN_IMPORT", "later")  # as PyTorch does, which the checks import
    assert asked == [machine.environment(Trainer(**plain["trainer"]), 0)]
