"""Interruption of a run by a signal: it saves between two steps, and its result says so."""

import math
import os
import signal
from types import FrameType
from typing import Any

import lightning as L

from smallgpt.stop_signals import SIGNALS, Stopped, StopRequest
from smallgpt.training.checkpoints import Checkpoints
from smallgpt.training.module import LanguageModel

GOES_ON = "resume=auto goes on from the last checkpoint, if there is one"
ASKED_EVERY = 10  # steps of several GPUs: to ask the others, each waits for what it has begun


class Interruption(L.Callback):
    """Callback that saves and ends a run after a signal, at once after a second; it follows what records and saves."""

    def __init__(self, checkpoints: Checkpoints) -> None:
        self.checkpoints = checkpoints
        self.request = StopRequest()
        self._answered = False
        self._step = 0
        self._kept: dict[int, Any] = {}

    def on_train_start(self, trainer: L.Trainer, module: LanguageModel) -> None:
        self._step = trainer.global_step
        # submitit gets SIGTERM before the signal on which it queues the job again, and waits for that one
        ours = [number for number in SIGNALS if number != signal.SIGTERM or "SUBMITIT_EXECUTOR" not in os.environ]
        if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:  # by nohup
            ours.remove(signal.SIGHUP)
        self._kept = {number: signal.signal(number, self._receive) for number in ours}
        self._kept[signal.SIGCONT] = signal.signal(signal.SIGCONT, lambda *_: module.clock.leave_out())

    def _receive(self, number: int, _: FrameType | None) -> None:
        told = bool(self.request.number)
        if self.request.is_new(number) and told and number in (signal.SIGINT, signal.SIGTERM):
            raise Stopped(number, f"told twice, ended in step {self._step + 1} without saving; {GOES_ON}")

    def on_train_batch_end(self, trainer: L.Trainer, module: LanguageModel, *_: Any) -> None:
        if trainer.global_step == self._step:
            return
        self._step = trainer.global_step
        # a validation that comes now belongs to this step, and saves
        if trainer.should_stop or trainer.val_check_batch != math.inf or not self._told(trainer):
            return
        self.checkpoints.save_state(trainer)
        self._end(trainer)

    def on_validation_end(self, trainer: L.Trainer, module: LanguageModel) -> None:
        if not trainer.should_stop and self._told(trainer):
            self._end(trainer)

    def _told(self, trainer: L.Trainer) -> bool:
        """Whether any rank was told to stop; all then stop at the same step."""
        if trainer.world_size == 1:
            return bool(self.request.number)
        if trainer.strategy.root_device.type == "cuda" and trainer.global_step % ASKED_EVERY:
            return False
        return trainer.strategy.reduce_boolean_decision(bool(self.request.number), all=False)

    def _end(self, trainer: L.Trainer) -> None:
        """Raises Stopped, after the handler that a cluster has installed: submitit's queues the job again."""
        number, code = self.request.number or signal.SIGTERM, None
        handler = self._kept.get(number)
        if callable(handler) and "SUBMITIT_EXECUTOR" in os.environ:
            try:
                handler(number, None)
            except SystemExit as error:
                code = error.code
        trainer.strategy.barrier()  # the first process is done with it, before the end of another ends the job
        self._answered = True
        raise Stopped(number, f"saved at step {trainer.global_step}; resume=auto goes on", code)

    def on_exception(self, *_: Any) -> None:
        self._give_back()
        self._answered = True  # the run ends

    def teardown(self, *_: Any, **__: Any) -> None:
        self._give_back()
        if self.request.number and not self._answered:  # it came in the last step: whoever comes next is to hear of it
            self._answered = True
            signal.raise_signal(self.request.number)

    def _give_back(self) -> None:
        for number, handler in self._kept.items():
            signal.signal(number, handler)
        self._kept = {}
