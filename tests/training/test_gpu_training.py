"""Training on a GPU: where things lie, in what precision, compiled, with flash attention, without waiting in a step."""

import lightning as L
import pytest
import torch
from on_gpu import NEEDS_GPU
from tiny_run import tiny_model
from torch.nn.attention import SDPBackend, sdpa_kernel

from smallgpt.machine.compiler import missing_for_compiling
from smallgpt.machine.device import device, native_precision, resolved_precision
from smallgpt.machine.rates import copy_bandwidth, peak_flops
from smallgpt.tasks import train
from smallgpt.training.micro_batch import Trial

pytestmark = list(NEEDS_GPU)
CUDA = torch.device("cuda")
ON_GPU = {"accelerator": "cuda", "precision": "bf16"}


class Watch(L.Callback):
    """Callback that notes where a step's tensors lie, and lets a step that waits for the GPU fail."""

    def __init__(self) -> None:
        self.kinds: set[str] = set()
        self.types: set[torch.dtype] = set()
        self.steps = 0

    def on_train_start(self, trainer, module) -> None:
        module.model.transformer.backbone.h[0].attn.c_attn.register_forward_hook(
            lambda layer, given, made: self.types.add(made.dtype)
        )

    def on_train_batch_start(self, trainer, module, batch, batch_idx) -> None:
        self.kinds |= {batch["input_ids"].device.type, module.device.type}
        if batch_idx >= 2:  # by then kernels are chosen and memory is taken
            torch.cuda.set_sync_debug_mode("error")

    def on_train_batch_end(self, *_) -> None:
        torch.cuda.set_sync_debug_mode("default")
        self.steps += 1


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_step_lies_on_the_gpu_in_bf16_and_waits_for_nothing(fit, compiled, optimizer):
    from smallgpt.training.optimizers import AdamW, Muon

    if compiled and (missing := missing_for_compiling(CUDA)):
        pytest.skip(missing)
    watch = Watch()
    chosen = AdamW() if optimizer == "adamw" else Muon()
    run = fit(steps=6, every=100, log_every=100, optimizer=chosen, first=(watch,), compile=compiled, hardware=ON_GPU)
    torch.cuda.set_sync_debug_mode("default")
    assert watch.steps == 6 and watch.kinds == {"cuda"}
    assert compiled or watch.types == {torch.bfloat16}
    assert {p.dtype for p in run.module.model.parameters()} == {torch.float32}


def test_compiled_losses_are_those_of_eager_pytorch(fit):
    if missing := missing_for_compiling(CUDA):
        pytest.skip(missing)
    runs = [
        fit(steps=4, name=name, compile=compiled, hardware={"accelerator": "cuda"})
        for name, compiled in (("a", True), ("b", False))
    ]
    losses = [[row["train/loss"] for row in run.rows("train/loss")] for run in runs]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_attention_of_a_training_is_flash_attention():
    model = tiny_model(n_embd=64).train().cuda()
    ids = torch.randint(64, (2, 16), device="cuda")
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION), torch.autocast("cuda", torch.bfloat16):  # fails where it cannot be
        model.next_token_loss(ids, ids).backward()


def test_a_run_on_the_gpu_says_what_it_took_and_ends_as_on_the_cpu(run_task, tmp_path):
    words = ("budget.tokens=4096", "trainer.precision=fp32", "model.dropout=0", "compile=false")
    there = run_task(train.run, tmp_path / "gpu", *words, "trainer=gpu")
    here = run_task(train.run, tmp_path / "cpu", *words, "trainer=cpu")
    section = there["train"]
    assert section["mfu"] > 0 and section["micro_batch"] > 0
    assert 1e6 < section["peak_memory_bytes"] <= torch.cuda.get_device_properties(0).total_memory
    assert there["val"]["loss"] == pytest.approx(here["val"]["loss"], abs=5e-3)


def test_the_card_is_known():
    assert device("auto").type == "cuda"
    assert resolved_precision("auto", CUDA) == native_precision(CUDA)
    assert (peak_flops(CUDA, "bf16") or 0) > 1e12
    assert copy_bandwidth(CUDA) > 1e11


def test_a_micro_batch_that_does_not_fit_is_found_out_and_leaves_nothing():
    model = tiny_model().cuda()
    trial = Trial(model, CUDA, "bf16")
    before = torch.cuda.memory_allocated()
    assert (trial(4) or 0) > 0
    trial.limit = 0
    assert trial(4) is None
    assert torch.cuda.memory_allocated() <= before and all(p.grad is None for p in model.parameters())
