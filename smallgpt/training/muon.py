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
BATCHED = {"cuda"}  # kinds of device on which matrices of one shape are worked on together


class NativeMuon(torch.optim.Muon):
    """Muon that orthogonalises in the precision of the processor, and whole matrices where FSDP has split them.

    PyTorch's own always takes bf16: a CPU without it then spends more time here than in the model.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:
        assert closure is None
        for group in self.param_groups:
            for alike in worked_on_together([p for p in group["params"] if p.grad is not None]):
                momentum, grads = group["momentum"], [p.grad for p in alike if p.grad is not None]
                for parameter, grad in zip(alike, grads, strict=True):
                    if not self.state[parameter]:
                        self.state[parameter]["momentum_buffer"] = torch.zeros_like(grad)
                averages = [self.state[parameter]["momentum_buffer"] for parameter in alike]
                for average, grad in zip(averages, grads, strict=True):
                    average.lerp_(grad, 1 - momentum)
                smooth = [grad.lerp(average, momentum) for grad, average in zip(grads, averages, strict=True)]
                together = smooth[0] if len(alike) == 1 else torch.stack(smooth)
                update = orthogonalised(together, native_type(together.device))
                # so that an update has the root mean square of AdamW's (arXiv 2502.16982)
                scale = 0.2 * max(alike[0].shape) ** 0.5
                for parameter, own in zip(alike, [update] if len(alike) == 1 else update, strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    parameter.add_(own, alpha=-group["lr"] * scale)


def worked_on_together(parameters: list[Parameter]) -> list[list[Parameter]]:
    """Matrices whose updates are made as one batch of products: on a GPU those of one shape, else each alone.

    A GPU is done with the products of one small matrix before the next are begun.
    """
    alike: dict[Any, list[Parameter]] = {}
    for number, parameter in enumerate(parameters):
        is_whole = parameter.device.type in BATCHED and not isinstance(parameter, DTensor)
        alike.setdefault((parameter.shape, parameter.device) if is_whole else number, []).append(parameter)
    return list(alike.values())


@cache
def native_type(device: torch.device) -> torch.dtype:
    """The type of numbers that the processor computes in natively."""
    return torch.bfloat16 if native_precision(device) == "bf16" else torch.float32


def orthogonalised(matrix: Tensor, dtype: torch.dtype) -> Tensor:
    """Matrix of the same singular vectors whose singular values are all near 1, by Newton and Schulz's iteration.

    Of a batch of matrices it is made for each.
    """
    if isinstance(matrix, DTensor):  # a process has some of its rows, and the iteration needs all
        mesh = matrix.device_mesh
        whole = DTensor.from_local(orthogonalised(matrix.full_tensor(), dtype), mesh, [Replicate()] * mesh.ndim)
        return whole.redistribute(placements=matrix.placements)
    a, b, c = NEWTON_SCHULZ
    tall = matrix.size(-2) > matrix.size(-1)
    x = (matrix.mT if tall else matrix).to(dtype)
    if matrix.dim() == 2:
        add_product, size = torch.addmm, x.norm()
    else:
        add_product, size = torch.baddbmm, x.norm(dim=(-2, -1), keepdim=True)
    x = x / size.clamp(min=1e-7)
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.mT
        x = add_product(x, add_product(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


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
