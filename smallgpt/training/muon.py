"""Muon and AdamW as one optimizer."""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, Replicate
from torch.nn import Parameter

from smallgpt.machine.device import native_precision

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # coefficients of the quintic iteration, as in torch.optim.Muon
NEWTON_SCHULZ_STEPS = 5


class NativeMuon(torch.optim.Muon):
    """Muon that orthogonalises in the precision of the processor, and whole matrices where FSDP has split them.

    PyTorch's own always takes bf16: a CPU without it then spends more time here than in the model.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:
        assert closure is None
        for group in self.param_groups:
            for parameter in (p for p in group["params"] if p.grad is not None):
                state, momentum = self.state[parameter], group["momentum"]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(parameter.grad)
                average = state["momentum_buffer"].lerp_(parameter.grad, 1 - momentum)
                update = orthogonalised(parameter.grad.lerp(average, momentum), native_type(parameter.device))
                # so that an update has the root mean square of AdamW's (arXiv 2502.16982)
                scale = 0.2 * max(parameter.shape) ** 0.5
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(update, alpha=-group["lr"] * scale)


@cache
def native_type(device: torch.device) -> torch.dtype:
    """The type of numbers that the processor computes in natively."""
    return torch.bfloat16 if native_precision(device) == "bf16" else torch.float32


def orthogonalised(matrix: Tensor, dtype: torch.dtype) -> Tensor:
    """A matrix of the same singular vectors whose singular values are all near 1, by Newton and Schulz's iteration."""
    if isinstance(matrix, DTensor):  # a process has some of its rows, and the iteration needs all
        mesh = matrix.device_mesh
        whole = DTensor.from_local(orthogonalised(matrix.full_tensor(), dtype), mesh, [Replicate()] * mesh.ndim)
        return whole.redistribute(placements=matrix.placements)
    a, b, c = NEWTON_SCHULZ
    tall = matrix.size(0) > matrix.size(1)
    x = (matrix.T if tall else matrix).to(dtype)
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x


class MuonWithAdamW(torch.optim.Optimizer):
    """Optimizer of two parts, Muon and AdamW, which work on the parameter groups and the state of the whole.

    To everything outside (learning rate, `state_dict`, Lightning's step count) it is an ordinary
    optimizer. Two optimizer objects would need manual optimization, and Lightning would count each
    one's steps.

    Args:
        matrices: the 2-D parameters for Muon.
        adamw_groups: parameter groups for AdamW.
        lr: the one learning rate.
        muon, adamw: the other settings of the two.
    """

    def __init__(
        self,
        matrices: list[Parameter],
        adamw_groups: list[dict[str, Any]],
        lr: float,
        muon: dict[str, Any],
        adamw: dict[str, Any],
    ) -> None:
        self._parts: dict[str, torch.optim.Optimizer] = {}
        if matrices:
            self._parts["muon"] = NativeMuon(matrices, lr=lr, **muon)
        if adamw_groups:
            self._parts["adamw"] = torch.optim.AdamW(adamw_groups, lr=lr, fused=True, **adamw)
        groups = [{**group, "kind": kind} for kind, part in self._parts.items() for group in part.param_groups]
        super().__init__(groups, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for kind, part in self._parts.items():
            # anew each time: load_state_dict replaces both objects
            part.state = self.state
            part.param_groups = [group for group in self.param_groups if group["kind"] == kind]
            part.step()
        return loss
