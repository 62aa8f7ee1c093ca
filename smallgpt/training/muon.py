"""Muon and AdamW as one optimizer."""

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import Parameter


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
            self._parts["muon"] = torch.optim.Muon(matrices, lr=lr, adjust_lr_fn="match_rms_adamw", **muon)
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
