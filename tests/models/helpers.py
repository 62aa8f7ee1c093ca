"""Models for tests: every YAML in conf/model/, alone and under several blocks and schedules."""

from dataclasses import dataclass, field

import torch
from hydra.utils import get_class
from omegaconf import OmegaConf

from smallgpt.launch.config_files import CONF

VARIANTS = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))
SMALL = {"n_layer": 4, "n_head": 2, "n_embd": 64, "block_size": 32, "vocab_size": 96}


@dataclass(frozen=True)
class Case:
    variant: str
    block: str = "gpt2"
    changes: dict = field(default_factory=dict, hash=False)

    def __str__(self):
        changes = ",".join(f"{k}={v}" for k, v in self.changes.items())
        return f"{self.variant}-{self.block}{'-' + changes if changes else ''}".replace(" ", "")


CASES = [Case(variant, block) for variant in VARIANTS for block in ("gpt2", "modern")] + [
    Case("gpt", "modern", {"activation": "relu2", "mlp_taper": -0.5, "norm": "layernorm", "bias": True}),
    Case("parallelgpt", "gpt2", {"n_path": 4}),
    Case("lineargpt", "gpt2", {"downsample_position": 1, "downsample_frequency": 1, "downsample_times": 2}),
    Case("lineargpt", "modern", {"downsample_operator": "pool", "head_policy": "width"}),
    Case("lineargpt", "modern", {"downsample_operator": "carry"}),
    Case("bowtie", "modern", {"downsample_operator": "linear", "head_policy": "count"}),
    Case("lineargpt", "gpt2", {"downsample_operator": "pad", "widths": [64, 32, 32, 64], "bias": True}),
    Case("canon", "modern", {"conv_blocks": 1}),
    Case("convgpt", "gpt2", {"kernel_size": 1}),
    Case("convgpt", "gpt2", {"kernel_size": 3}),
    Case("convgpt", "modern", {"kernel_size": 4, "downsample_position": 1, "downsample_frequency": 1}),
]


def model_class(variant):
    return get_class(OmegaConf.load(CONF / "model" / f"{variant}.yaml")["_target_"])


def build_config(case, **changes):
    values = OmegaConf.to_container(OmegaConf.load(CONF / "block" / f"{case.block}.yaml"))
    values |= OmegaConf.to_container(OmegaConf.load(CONF / "model" / f"{case.variant}.yaml"))
    values["zero_init"] = False  # a test of its own has it; the others are to see every weight's values
    target = get_class(values.pop("_target_"))
    return target.config_class(**{**values, **SMALL, **case.changes, **changes})


def build_model(case, init_seed=0, **changes):
    torch.manual_seed(init_seed)
    config = build_config(case, **changes)
    return model_class(case.variant)(config).eval()
