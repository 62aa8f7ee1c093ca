"""Training with FSDP2: weights, gradients and optimizer state in parts, one for each process.

Checkpoints are whole, in the format of a run that is not sharded: either kind goes on from the other's.
"""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import ClusterEnvironment
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from smallgpt.models.layers import Block
from smallgpt.training.launcher import Launcher


def shard(model: nn.Module, mesh: Any) -> None:
    """Shards each block and what is around the blocks; whole weights exist only while a block computes."""
    for module in model.modules():
        if isinstance(module, Block):
            fully_shard(module, mesh=mesh)
    fully_shard(model, mesh=mesh)
    register_fsdp_forward_method(model, "next_token_loss")  # training calls it instead of forward


def whole(value: Any) -> Any:
    """Whole of a sharded tensor, on the CPU; every process takes part."""
    return value.full_tensor().cpu() if isinstance(value, DTensor) else value


def part(value: Any, like: Any) -> Any:
    """Shard of a whole tensor that belongs to this process."""
    if not isinstance(like, DTensor) or not isinstance(value, Tensor) or value.shape != like.shape:
        return value
    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements)


class Sharded(ModelParallelStrategy):
    """Strategy for FSDP2 with our own launcher of its processes; checkpoints hold whole tensors."""

    def __init__(self, run_dir: Path, processes: int, cluster: ClusterEnvironment, timeout: timedelta) -> None:
        super().__init__(
            data_parallel_size=processes, tensor_parallel_size=1, save_distributed_checkpoint=False, timeout=timeout
        )
        self.run_dir = run_dir
        self.cluster_environment = cluster

    def _configure_launcher(self) -> None:
        assert self.cluster_environment is not None
        self._launcher = Launcher(self.run_dir, self.cluster_environment, self.num_processes, self.num_nodes)

    def lightning_module_state_dict(self) -> dict[str, Any]:
        assert self.lightning_module is not None
        module = self.lightning_module
        parameters = {name: id(p) for name, p in module.named_parameters(remove_duplicate=False)}
        made: dict[Any, Any] = {}
        weights = {}
        for name, value in module.state_dict().items():
            key = parameters.get(name, name)  # tied weights stay one tensor
            if key not in made:
                made[key] = whole(value)
            weights[name] = made[key]
        return weights

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        state = optimizer.state_dict()
        state["state"] = {
            index: {name: whole(value) for name, value in moments.items()} for index, moments in state["state"].items()
        }
        return state

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        return torch.load(
            checkpoint_path, map_location="cpu", weights_only=True if weights_only is None else weights_only
        )

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        assert self.lightning_module is not None
        mine = self.lightning_module.state_dict()
        weights = {name: part(value, mine.get(name)) for name, value in checkpoint["state_dict"].items()}
        self.lightning_module.load_state_dict(weights, strict=strict)

    @property
    def lightning_restore_optimizer(self) -> bool:
        return True

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            moments = {
                index: {name: part(value, parameters[index]) for name, value in values.items()}
                for index, values in state["state"].items()
            }
            optimizer.load_state_dict({**state, "state": moments})
