"""Checkpoints of other programs that the variant gpt takes over: GPT-2 of transformers, and nanoGPT's.

Both are GPT's own architecture: learned positions, LayerNorm before attention and MLP, one matrix for queries, keys and
values. So each weight has one place here, and the logits are the same numbers to rounding. Nothing in a checkpoint is
executed: weights are read as safetensors, or as a file of PyTorch's that holds numbers and text alone.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import GPT2Config, PreTrainedModel

from smallgpt.data.tokenizers import TOKENIZER_FILES
from smallgpt.errors import UserError, one_line, shown
from smallgpt.files import nearest_beside, read_numbers_and_text
from smallgpt.inference.checkpoint import load_model, locate, read_config
from smallgpt.inference.checkpoint_files import damaged, not_finite
from smallgpt.models.configuration import LEAST_HEAD_WIDTH, LEAST_WIDTH, DecoderConfig
from smallgpt.models.gpt import GPT, GPTConfig

OURS = re.compile(r"(?:^|\.)((?:h\.\d+|wte|wpe|ln_f)\..+|lm_head\.weight)$")  # the part of a name that all three share
MASK = re.compile(r"\.attn\.(bias|masked_bias)$")  # causal masks, which some releases save among the weights
TRANSPOSED = re.compile(r"\.(c_attn|c_proj|c_fc)\.weight$")  # GPT-2's Conv1D has inputs first
ACTIVATIONS = {  # transformers' names
    **dict.fromkeys(("gelu_new", "gelu_pytorch_tanh", "gelu_fast"), "gelu_tanh"),
    **dict.fromkeys(("gelu", "gelu_python"), "gelu"),
}
PLAIN = {  # what a GPT-2 config has to say, for GPT has nothing else
    "layer_norm_epsilon": 1e-5,
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "add_cross_attention": False,
    "quantization_config": None,
}
NANOGPT_FILE = "ckpt.pt"
NANOGPT_ARGUMENTS = {"n_layer", "n_head", "n_embd", "block_size", "bias", "vocab_size", "dropout"}


@dataclass(frozen=True)
class Foreign:
    """A checkpoint of another program, as far as it is known without its weights."""

    program: str
    """Program that left it, for people."""
    config: GPTConfig
    tokenizer: str | None
    """Folder or hub name of its tokenizer; None where it has none."""


def read_foreign(checkpoint: str) -> Foreign:
    """Reads what a checkpoint of another program holds, without its weights.

    Raises:
        UserError: there is none, it is one of smallgpt's, or it has what GPT lacks.
    """
    path = nanogpt_file(checkpoint)
    return read_nanogpt(checkpoint, path) if path else read_gpt2(checkpoint)


def load_foreign(checkpoint: str, config: GPTConfig) -> tuple[GPT, PreTrainedModel | None]:
    """Makes a GPT of a foreign checkpoint's weights, and the model of transformers that it was, where it was one.

    Raises:
        UserError: a weight is missing, left over, of another shape, or holds no numbers.
    """
    path = nanogpt_file(checkpoint)
    if path:
        original, weights = None, nanogpt_content(checkpoint, path)[0]
    else:
        original = load_model(checkpoint).float()
        weights = {
            shared_name(name): value.T if TRANSPOSED.search(name) else value
            for name, value in original.state_dict().items()
        }
    model = GPT(config)
    fill(checkpoint, model, weights)
    return model.eval(), original


def fill(checkpoint: str, model: GPT, weights: dict[str, Tensor]) -> None:
    """Copies weights under their shared names into a model; see `load_foreign`."""
    own = {shared_name(name): value for name, value in model.state_dict().items()}
    if missing := sorted(own.keys() - weights.keys()):
        raise UserError(f"checkpoint={checkpoint}: {len(missing)} weights are missing, {missing[0]} among them")
    if unknown := sorted(weights.keys() - own.keys()):
        raise UserError(f"checkpoint={checkpoint}: the weight {shown(unknown[0])} has no place in a GPT")
    for name, value in own.items():
        if weights[name].shape != value.shape:
            raise damaged(
                checkpoint, "the weights", f"{name} is {tuple(weights[name].shape)}, not {tuple(value.shape)}"
            )
        if not weights[name].is_floating_point():
            raise UserError(f"checkpoint={checkpoint}: {name} is {weights[name].dtype}, no floating-point numbers")
    if name := not_finite(weights.items()):
        raise UserError(f"checkpoint={checkpoint}: the weight {name} holds NaN or infinity; name another one")
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(weights[name])


def shared_name(name: str) -> str:
    """Name of a weight without the modules around it, such as `h.0.attn.c_attn.weight`, the same in all programs."""
    found = OURS.search(name)
    return found[1] if found else name


# -- GPT-2 of transformers -------------------------------------------------------------------------------------------


def read_gpt2(checkpoint: str) -> Foreign:
    """Reads the config of a GPT-2 of transformers, a folder or hub name; see `read_foreign`."""
    config: Any = read_config(checkpoint)
    if isinstance(config, DecoderConfig):
        raise UserError(
            f"checkpoint={checkpoint}: one of smallgpt's own models, which every task takes as it is; leave task=import"
            " out"
        )
    if not isinstance(config, GPT2Config):
        raise UserError(
            f"checkpoint={checkpoint}: a {config.model_type} model; task=import takes those of GPT-2 and of nanoGPT"
        )
    refuse_what_gpt_lacks(checkpoint, config)
    drops = {config.resid_pdrop, config.embd_pdrop, config.attn_pdrop}
    inner = 4 * config.n_embd if config.n_inner is None else config.n_inner
    ours = gpt_config(
        checkpoint,
        vocab_size=config.vocab_size,
        n_layer=config.n_layer,
        n_head=config.n_head,
        n_embd=config.n_embd,
        block_size=config.n_positions,
        bias=True,
        dropout=drops.pop() if len(drops) == 1 else 0.0,  # ours is one number; a training may set it anew
        activation=ACTIVATIONS[config.activation_function],
        mlp_ratio=inner / config.n_embd,
        tie_word_embeddings=bool(config.tie_word_embeddings),
    )
    if (width := ours.mlp_width(ours.n_embd, 0, 1)) != inner:
        raise UserError(f"checkpoint={checkpoint}: its n_inner={inner} has no place in a GPT; the nearest is {width}")
    folder = locate(checkpoint)
    path = Path(folder)
    has_none = path.is_dir() and not any((path / name).is_file() for name in TOKENIZER_FILES)
    return Foreign("GPT-2 of transformers", ours, None if has_none else folder)


def refuse_what_gpt_lacks(checkpoint: str, config: GPT2Config) -> None:
    """Raises UserError for what a GPT-2's config may say and GPT has no place for."""
    for name, needed in PLAIN.items():
        if (value := getattr(config, name, needed)) != needed:
            more = f", only {shown(needed)}" if needed is not None else ""
            raise UserError(f"checkpoint={checkpoint}: its {name}={shown(value)} has no place in a GPT{more}")
    if config.activation_function not in ACTIVATIONS:
        raise UserError(
            f"checkpoint={checkpoint}: its activation_function={shown(config.activation_function)} has no place in a "
            f"GPT, only {', '.join(ACTIVATIONS)}"
        )


# -- nanoGPT ---------------------------------------------------------------------------------------------------------


def nanogpt_file(checkpoint: str) -> Path | None:
    """File of nanoGPT's that a checkpoint's name stands for: itself, or the ckpt.pt of a folder; None if neither."""
    path = Path(checkpoint).expanduser()
    if path.suffix == ".pt" and not path.is_dir():
        if not path.is_file():
            raise UserError(f"checkpoint={checkpoint}: no such file{nearest_beside(path)}")
        return path
    inside = path / NANOGPT_FILE
    return inside if inside.is_file() and not (path / "config.json").is_file() else None


def nanogpt_content(checkpoint: str, path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights of nanoGPT's file by their shared names, and its model's arguments; the numbers stay on the disk."""
    try:
        content = read_numbers_and_text(path)
    except ValueError as error:
        raise damaged(checkpoint, path.name, error) from error
    for name in ("model", "model_args"):
        if not isinstance(content, dict) or not isinstance(content.get(name), dict):
            raise damaged(checkpoint, path.name, f"no {name} in it, which nanoGPT's have")
    weights = {shared_name(str(name)): value for name, value in content["model"].items() if not MASK.search(str(name))}
    if wrong := next((name for name, value in weights.items() if not isinstance(value, Tensor)), None):
        raise damaged(checkpoint, path.name, f"{shown(wrong)} is no tensor")
    if "wte.weight" in weights:  # the head is tied to it
        weights.setdefault("lm_head.weight", weights["wte.weight"])
    return weights, {str(name): value for name, value in content["model_args"].items()}


def read_nanogpt(checkpoint: str, path: Path) -> Foreign:
    """Reads the config in nanoGPT's file, which brings no tokenizer; see `read_foreign`."""
    weights, given = nanogpt_content(checkpoint, path)
    if unknown := sorted(given.keys() - NANOGPT_ARGUMENTS):
        raise UserError(
            f"checkpoint={checkpoint}: its {unknown[0]}={shown(given[unknown[0]])} is none of nanoGPT's arguments, and "
            "has no place in a GPT"
        )
    if missing := sorted(NANOGPT_ARGUMENTS - {"dropout"} - given.keys()):
        raise UserError(f"checkpoint={checkpoint}: its model_args lack {missing[0]}")
    tied = "wte.weight" in weights and torch.equal(weights["wte.weight"], weights["lm_head.weight"])
    config = gpt_config(checkpoint, **{"dropout": 0.0, **given}, activation="gelu", tie_word_embeddings=tied)
    return Foreign("nanoGPT", config, None)


def gpt_config(checkpoint: str, **fields: Any) -> GPTConfig:
    """Config of a GPT with GPT-2's block; raises UserError where the fields make none."""
    try:
        narrow = fields["n_embd"] < LEAST_WIDTH or fields["n_embd"] < LEAST_HEAD_WIDTH * fields["n_head"]
        return GPTConfig(**fields, norm="layernorm", position_encoding="learned", allow_narrow=narrow)
    except (TypeError, ValueError) as error:
        raise UserError(f"checkpoint={checkpoint}: {one_line(error)}") from error
