"""The processes of a distributed run: who starts them, how they share a machine, and how they end together.

On one machine the first process starts the others, each as `python -m smallgpt.launch.process DIRECTORY`; torchrun and
Slurm start all of them. What the others print is kept, and shown only when one of them fails.
"""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import lightning as L
import numpy as np
import torch
import torch.distributed as dist
from lightning.fabric.plugins import ClusterEnvironment
from lightning.fabric.plugins.environments import LightningEnvironment, SLURMEnvironment, TorchElasticEnvironment
from lightning.pytorch.strategies import DDPStrategy, ParallelStrategy
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher

from smallgpt.errors import UserError
from smallgpt.launch.process import job_command, python_path
from smallgpt.launch.ranks import started_by
from smallgpt.settings import Settings, Trainer
from smallgpt.training.hardware import cores
from smallgpt.training.optimizers import Muon

READY = "SMALLGPT_READY"  # names the file descriptor on which a process says that it is about to join
POLL_SECONDS = 0.2
NOTICE_SECONDS = 3.0  # from an error of this process to the end of the one that caused it
GRACE_SECONDS = 10.0
GROUP_VARIABLES = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def check_processes(settings: Settings) -> None:
    """Raises UserError where the processes that were started are not those that the settings ask for."""
    trainer, outside = settings.trainer, started_by()
    if outside is None and trainer.num_nodes > 1:
        raise UserError(f"trainer.num_nodes={trainer.num_nodes}: start it with torchrun or srun on every machine")
    if outside and outside[2] != trainer.processes:
        raise UserError(
            f"trainer.devices={trainer.devices}: {outside[0]} started {outside[2]} processes, and "
            f"trainer.devices * trainer.num_nodes = {trainer.processes}"
        )
    if trainer.strategy == "fsdp" and trainer.processes > 1:
        if isinstance(settings.optimizer, Muon):
            raise UserError(
                "trainer.strategy=fsdp: optimizer=muon needs whole matrices; trainer=ddp or optimizer=adamw"
            )
        if settings.compile:
            raise UserError("trainer.strategy=fsdp: compile=true does not work with it; trainer=ddp or compile=false")


def share_cores(trainer: Trainer) -> None:
    """Sets the CPU threads of this process: its share, where nobody has said how many."""
    threads = trainer.threads
    if threads is None and trainer.devices > 1 and "OMP_NUM_THREADS" not in os.environ:
        threads = max(1, cores() // trainer.devices)
    if threads is not None:
        torch.set_num_threads(threads)


def seed_of_rank(rank: int, step: int) -> None:
    """Gives a process random numbers of its own, for dropout; all began with the same, for the same weights."""
    torch.manual_seed(int(np.random.SeedSequence([torch.initial_seed(), rank, step]).generate_state(1)[0]))


def settle(trainer: L.Trainer, batch: Any) -> None:
    """Lets DDP choose the final order of its sums before the first step, which is not the same for three or more.

    It reorders the gradients after its first backward pass; a run that goes on would do its first step in another order
    than the run that was not cut off.
    """
    if not isinstance(trainer.strategy, DDP) or trainer.world_size < 3:
        return
    trainer.strategy.training_step(batch, 0).backward()
    trainer.lightning_module.zero_grad()
    trainer.lightning_module.micro_losses.clear()


def strategy(trainer: Trainer, run_dir: Path) -> ParallelStrategy | str:
    """Lightning's strategy for the settings; one process needs none."""
    if trainer.processes == 1:
        return "auto"
    if trainer.strategy == "fsdp":
        from smallgpt.training.sharding import Sharded

        return Sharded(run_dir, trainer.processes, cluster())
    return DDP(run_dir, cluster_environment=cluster(), gradient_as_bucket_view=True, broadcast_buffers=False)


def cluster() -> ClusterEnvironment:
    outside = started_by()
    if outside is None:
        return LightningEnvironment()
    # smallgpt saves on Slurm's signals itself
    return TorchElasticEnvironment() if outside[0] == "torchrun" else SLURMEnvironment(auto_requeue=False)


class DDP(DDPStrategy):
    def __init__(self, run_dir: Path, **options: Any) -> None:
        super().__init__(**options)
        self.run_dir = run_dir

    def _configure_launcher(self) -> None:
        assert self.cluster_environment is not None
        self._launcher = Launcher(self.run_dir, self.cluster_environment, self.num_processes, self.num_nodes)


class Launcher(_SubprocessScriptLauncher):
    """Starts the other processes of this machine, if it is to, and sees to it that all end together."""

    def __init__(self, run_dir: Path, environment: ClusterEnvironment, processes: int, nodes: int) -> None:
        super().__init__(environment, processes, nodes)
        self.run_dir = run_dir
        self.outputs: list[IO[bytes]] = []
        self.left = threading.Event()
        """Training is over in this process, well or not."""

    def launch(self, function: Callable, *args: Any, trainer: Any = None, **kwargs: Any) -> Any:
        self.cluster_environment.validate_settings(num_devices=self.num_processes, num_nodes=self.num_nodes)
        starts = not self.cluster_environment.creates_processes_externally
        if ready := os.environ.pop(READY, None):
            os.write(int(ready), b"1")
            os.close(int(ready))
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
        os.environ["MASTER_ADDR"] = self.cluster_environment.main_address
        os.environ["MASTER_PORT"] = str(self.cluster_environment.main_port)
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
        """What to say of a process that failed, or fails within so many seconds."""
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
        """Waits so long for the others to end, then ends them."""
        deadline = time.monotonic() + seconds
        for process in self.procs:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for output in self.outputs:
            output.close()
        self.procs, self.outputs = [], []


def reason(code: int, output: IO[bytes]) -> str:
    """Why a process ended, from its code and its last words."""
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
    """Without it libraries complain at exit. After an error the others may be gone."""
    if not dist.is_initialized():
        return
    if finished or dist.get_backend() != "nccl":
        dist.destroy_process_group()
    else:
        abort_group()


def abort_group() -> None:
    """Ends what waits on the GPU for a process that is gone."""
    if dist.is_initialized() and dist.get_backend() == "nccl":
        dist.distributed_c10d._abort_process_group()
