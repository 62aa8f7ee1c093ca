"""ParallelGPT: paths of blocks side by side, joined by learned weights (arXiv 2404.14462, section 3.1).

Letters in names: B batch, T time, D n_embd, P paths that run.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM
from transformers import initialization as init

from .configuration import BlockShape, DecoderConfig, LayoutPart
from .context import Context
from .decoder import Decoder
from .layers import Block, Linear


class ParallelGPTConfig(DecoderConfig):
    """Config of ParallelGPT: how many paths there are, and which of them inference runs."""

    model_type = "smallgpt-parallel"
    free_at_inference = frozenset({"active_paths"})

    n_path: int = 2
    """Number of paths, each of n_layer / n_path blocks behind an input projection of its own."""
    active_paths: list[int] | None = None
    """Paths that inference runs, counted from 0; null: all. Training runs all."""

    @property
    def path_depth(self) -> int:
        """Number of blocks on each path."""
        return self.n_layer // self.n_path

    @property
    def path_order(self) -> list[int]:
        """Paths in the order of their layer indices: those that inference runs come first in the cache."""
        active = self.active_paths if self.active_paths is not None else range(self.n_path)
        return [*active, *(p for p in range(self.n_path) if p not in active)]

    def block_shapes(self) -> list[BlockShape]:
        depth = self.path_depth
        return [self.block_shape(self.n_embd, i % depth, depth) for i in range(self.n_layer)]

    def body(self) -> list[LayoutPart]:
        d, parts = self.n_embd, []
        for path in range(self.n_path):
            active = self.active_paths is None or path in self.active_paths
            name = f"path {path}"
            parts.append(
                LayoutPart(
                    "paths",
                    f"{name} input",
                    d,
                    d,
                    d * d + d,
                    2 * d * d,
                    activation_elements=d,
                    active=active,
                    path=path,
                )
            )
            for i in range(self.path_depth):
                shape = self.block_shape(d, i, self.path_depth)
                parts.append(self.block_part(shape, f"{name} block {i + 1}", active, path))
        parts.append(LayoutPart("paths", "weighted sum", d, d, self.n_path - 1, activation_elements=d * self.n_path))
        return parts

    def schedule_string(self) -> str:
        kept = "" if self.active_paths is None else f" paths {','.join(map(str, self.active_paths))}"
        return f"{self.n_path}x({self.path_depth}@{self.n_embd}){kept} head@{self.output_width}"

    def check(self) -> None:
        if self.n_path < 2:
            raise ValueError(f"n_path={self.n_path}: needs at least 2 paths; model=gpt has one")
        if self.n_layer % self.n_path:
            below = self.n_layer // self.n_path * self.n_path
            near = " and ".join(str(n) for n in (below, below + self.n_path) if n)
            raise ValueError(
                f"n_layer={self.n_layer}: n_path={self.n_path} does not divide it; nearest that work: {near}"
            )
        paths = self.active_paths
        if paths is not None and (
            not paths or len(set(paths)) < len(paths) or not all(0 <= p < self.n_path for p in paths)
        ):
            raise ValueError(
                f"active_paths={paths}: must name one or more of the paths 0 to {self.n_path - 1}, each once"
            )
        super().check()


class ParallelGPTBackbone(nn.Module):
    """Backbone of parallel paths, whose outputs are joined by a learned weighted sum.

    The sum's weights are a softmax over one free weight a path, the last held at 0: a sigmoid for two paths.
    """

    def __init__(self, config: ParallelGPTConfig):
        super().__init__()
        depth, shapes = config.path_depth, config.block_shapes()
        self.active = config.path_order[: len(config.active_paths)] if config.active_paths else range(config.n_path)
        first_layer = {path: i * depth for i, path in enumerate(config.path_order)}
        self.inputs = nn.ModuleList(
            Linear(config.n_embd, config.n_embd, bias=True, role="stream") for _ in range(config.n_path)
        )
        self.paths = nn.ModuleList(
            nn.ModuleList(Block(config, shapes[i], first_layer[path] + i) for i in range(depth))
            for path in range(config.n_path)
        )
        self.path_weight = nn.Parameter(torch.zeros(config.n_path - 1))

    def reset_parameters(self) -> None:
        init.zeros_(self.path_weight)

    def forward(self, x_BTD: Tensor, context: Context) -> Tensor:
        running = range(len(self.paths)) if self.training else self.active
        outputs = []
        for path in running:
            y_BTD = self.inputs[path](x_BTD)
            blocks: Any = self.paths[path]
            for block in blocks:
                y_BTD = block(y_BTD, context)
            outputs.append(y_BTD)
        if len(outputs) == 1:
            return outputs[0]
        free = torch.cat((self.path_weight, self.path_weight.new_zeros(1)))
        share_P = torch.softmax(free[list(running)], dim=0)
        return sum(share * y_BTD for share, y_BTD in zip(share_P, outputs, strict=True))


class ParallelGPT(Decoder):
    """ParallelGPT model: paths of blocks side by side, some of which inference may drop."""

    config_class = ParallelGPTConfig
    backbone_class = ParallelGPTBackbone


AutoConfig.register(ParallelGPTConfig.model_type, ParallelGPTConfig, exist_ok=True)
AutoModelForCausalLM.register(ParallelGPTConfig, ParallelGPT, exist_ok=True)
