"""Launcher of a distributed run: its processes on one machine are started, watched and ended together.

What the processes after the first print is kept, and shown only when one of them fails.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import torch.distributed as dist
from lightning.fabric.plugins import ClusterEnvironment

from smallgpt.errors import UserError
from smallgpt.packages import private
from smallgpt.ranks import job_command, python_path

with private("lightning"):
    from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher
with private("torch"):
    from torch.distributed.distributed_c10d import _abort_process_group

READY = "SMALLGPT_READY"  # names the file descriptor on which a process says that it is about to join
POLL_SECONDS = 0.2
NOTICE_SECONDS = 3.0  # from an error of this process to the end of the one that caused it
GRACE_SECONDS = 10.0
LOOPBACK = "127.0.0.1"
USE_STORE = "TORCHELASTIC_USE_AGENT_STORE"  # tells PyTorch that the store at MASTER_ADDR runs already
WAITED = re.compile(r"timed out|timeout after", re.I)  # of Gloo and its store; NCCL ends the process itself
SILENT = "another process did not answer for so long; resume=auto goes on from the last checkpoint"
GROUP_VARIABLES = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", USE_STORE)


class Launcher(_SubprocessScriptLauncher):
    """Starts the other processes of this machine, if it is to, and sees to it that all end together."""

    def __init__(self, run_dir: Path, environment: ClusterEnvironment, processes: int, nodes: int) -> None:
        super().__init__(environment, processes, nodes)
        self.run_dir = run_dir
        self.outputs: list[IO[bytes]] = []
        self.store: dist.TCPStore | None = None
        """Store through which the processes find each other, where this one started them."""
        self.left = threading.Event()
        """Event that is set when training is over in this process, well or not."""

    def launch(self, function: Callable, *args: Any, trainer: Any = None, **kwargs: Any) -> Any:
        self.cluster_environment.validate_settings(num_devices=self.num_processes, num_nodes=self.num_nodes)
        starts = not self.cluster_environment.creates_processes_externally
        if ready := os.environ.pop(READY, None):
            os.write(int(ready), b"1")
            os.close(int(ready))
        if self.num_nodes == 1:
            stay_on_this_machine()
        finished = False
        try:
            if starts:
                self._start()
            result = function(*args, **kwargs)
            finished = True
        except UserError:
            raise  # the same in every process
        except Exception as error:
            if lost := self._lost(NOTICE_SECONDS):
                raise UserError(lost) from error
            if has_waited(error):
                raise UserError(f"trainer.timeout: {SILENT}") from error
            raise
        except SystemExit:
            finished = True  # by a signal, in every process
            raise
        finally:
            leave_group(finished)
            self.left.set()
            if starts:
                self._stop(GRACE_SECONDS if finished else 0)
                for name in GROUP_VARIABLES:
                    os.environ.pop(name, None)
        return result

    def _start(self) -> None:
        self.store = store_on_loopback()
        os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = LOOPBACK, str(self.store.port)
        os.environ[USE_STORE] = "True"
        os.environ["NODE_RANK"] = os.environ["LOCAL_RANK"] = "0"
        os.environ["WORLD_SIZE"] = str(self.num_processes)
        waiting = []
        for rank in range(1, self.num_processes):
            ready, say_ready = os.pipe()
            output = tempfile.TemporaryFile()  # noqa: SIM115  closed in _stop
            env = {**os.environ, "LOCAL_RANK": str(rank), "PYTHONPATH": python_path(), READY: str(say_ready)}
            command = job_command(self.run_dir)
            process = subprocess.Popen(
                command, env=env, pass_fds=[say_ready], stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
            self.procs.append(process)
            self.outputs.append(output)
            os.close(say_ready)
            waiting.append(ready)
        joins = [os.read(ready, 1) for ready in waiting]  # nothing from a process that has ended
        for ready in waiting:
            os.close(ready)
        if not all(joins):
            raise UserError(self._lost(NOTICE_SECONDS) or "a process ended before the training began")
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        """Ends this process if it hangs in a collective that another one no longer takes part in."""
        while not self._lost(0):
            if self.left.wait(POLL_SECONDS):
                return
        if self.left.wait(GRACE_SECONDS):  # gloo notices by itself
            return
        abort_group()
        if not self.left.wait(GRACE_SECONDS):
            print(f"error: {self._lost(0)}", file=sys.stderr, flush=True)
            self._stop(0)
            os.kill(os.getpid(), signal.SIGKILL)

    def _lost(self, seconds: float) -> str | None:
        """Message about a process that has failed or fails within so many seconds."""
        deadline = time.monotonic() + seconds
        while self.procs:
            for rank, (process, output) in enumerate(zip(self.procs, self.outputs, strict=True), start=1):
                code = process.poll()
                if code is not None and (code < 0 or 0 < code < 128):  # over 128: told to stop, as all are
                    return f"process {rank} (0 to {len(self.procs)}) {reason(code, output)}"
            if time.monotonic() >= deadline:
                break
            time.sleep(POLL_SECONDS)
        return None

    def _stop(self, seconds: float) -> None:
        """Waits a time for the other processes to end, then ends them."""
        deadline = time.monotonic() + seconds
        for process in self.procs:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for output in self.outputs:
            output.close()
        self.procs, self.outputs, self.store = [], [], None


def has_waited(error: Exception) -> bool:
    """Whether the process group has waited for another process as long as it may.

    What Gloo itself raises is a RuntimeError like those of others, and names its own files.
    """
    return bool(WAITED.search(str(error))) and (isinstance(error, dist.DistError) or "gloo" in str(error))


def store_on_loopback() -> dist.TCPStore:
    """Starts the store of a process group for this machine alone; one that PyTorch starts answers the whole network."""
    listener = socket.create_server((LOOPBACK, 0))
    port = listener.getsockname()[1]
    return dist.TCPStore(LOOPBACK, port, is_master=True, wait_for_workers=False, master_listen_fd=listener.detach())


def stay_on_this_machine() -> None:
    """Has Gloo and NCCL listen on the loopback alone, unless the user has named an interface."""
    loopback = next((name for _, name in socket.if_nameindex() if name in ("lo", "lo0")), None)
    if loopback:
        for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
            os.environ.setdefault(name, loopback)


def reason(code: int, output: IO[bytes]) -> str:
    """Reason why a process ended, from its exit code and its last lines."""
    output.seek(0)
    words = output.read().decode(errors="replace")
    if os.environ.get("HYDRA_FULL_ERROR") == "1":
        print(words, file=sys.stderr, flush=True)
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}; resume=auto goes on from the last checkpoint"
    lines = [line for line in words.splitlines() if line.strip()]
    said = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")] or lines or ["no word"]
    return f"failed: {said[-1]}"


def leave_group(finished: bool) -> None:
    """Leaves the process group, or libraries complain at exit; aborts it where the others may be gone."""
    if not dist.is_initialized():
        return
    if finished or dist.get_backend() != "nccl":
        dist.destroy_process_group()
    else:
        abort_group()


def abort_group() -> None:
    """Aborts the group, and so what waits on the GPU for a process that is gone."""
    if dist.is_initialized() and dist.get_backend() == "nccl":
        _abort_process_group()
