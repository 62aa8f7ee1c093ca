"""The starter's side of the job servers (`smallgpt.launch.job_server`): it asks for a job, and watches it as its child.

Where a server cannot be used, the job is started by its own command, which does the same and imports everything itself.
"""

import os
import signal
import socket
import subprocess
import sys
import weakref
from pathlib import Path
from typing import IO

from smallgpt.launch.job_server import OUTDATED
from smallgpt.ranks import adopts_orphans, job_command

ANSWER_SECONDS = 300.0  # of a server; on a crowded machine its imports may take minutes


class ForkedJob:
    """Job that a job server forked: a child of this process, with the part of a `subprocess.Popen` that sweeps use."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:  # of a shell that ignores how its children end: the result says it
                self.returncode = 0
            else:
                self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def terminate(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGTERM)


class JobServer:
    """One job server, from this process's side."""

    def __init__(self, env: dict[str, str]) -> None:
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(ANSWER_SECONDS)
        with theirs:
            process = subprocess.Popen(
                self.command(theirs.fileno()),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=env,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self.has_forked = False
        self.end = weakref.finalize(self, end_server, self.socket, process)

    @staticmethod
    def command(number: int) -> list[str]:
        """Command of a server whose end of the socket has this number."""
        return [sys.executable, "-P", "-m", "smallgpt.launch.job_server", str(number), str(os.getpid())]

    def fork(self, run_dir: Path, log: IO[bytes]) -> ForkedJob | None:
        """A new job; None where the server has ended, since it cannot fork or its code was changed."""
        try:
            with adopts_orphans():
                socket.send_fds(self.socket, [os.fsencode(run_dir.absolute())], [log.fileno()])
                answer = self.socket.recv(32)
        except OSError:
            return None
        if not answer:
            return None
        self.has_forked = True
        return ForkedJob(int(answer))


def end_server(connection: socket.socket, process: subprocess.Popen) -> int:
    """Ends a server, whose jobs go on; returns its exit code, which is its own where it had ended by itself."""
    connection.close()
    process.kill()
    return process.wait()


class JobServers:
    """The job servers of a sweep: one for each environment, which libraries read when they are imported."""

    def __init__(self) -> None:
        self.servers: dict[frozenset[tuple[str, str]], JobServer | None] = {}
        """By environment; None where a server cannot be used."""

    def server(self, env: dict[str, str]) -> JobServer | None:
        """The server of an environment, which begins to import if it is new."""
        key = frozenset(env.items())
        if key not in self.servers:
            self.servers[key] = JobServer(env) if sys.platform == "linux" else None
        return self.servers[key]

    def start(self, run_dir: Path, env: dict[str, str], log: IO[bytes]) -> ForkedJob | subprocess.Popen:
        """Starts the job of a run directory, whose output goes to `log`."""
        while (server := self.server(env)) is not None:
            if (job := server.fork(run_dir, log)) is not None:
                return job
            code = server.end()
            key = frozenset(env.items())
            if code == OUTDATED or server.has_forked:  # or killed after that: another one takes its place
                del self.servers[key]
            else:
                self.servers[key] = None
        return subprocess.Popen(
            job_command(run_dir),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=env,
            start_new_session=True,  # Ctrl-C reaches the starter, which tells the jobs
        )
