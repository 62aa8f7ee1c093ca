"""The cost card held against the model itself: its real parameters, and the FLOPs that torch's counter sees."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from smallgpt.contract.logits import Broken
from smallgpt.models.configuration import DecoderConfig
from smallgpt.models.cost import cost
from smallgpt.models.decoder import Decoder
from smallgpt.models.layers import Block

LONGEST = 24  # tokens; a third of them is read too, and from both follows what grows with the context


@dataclass(frozen=True)
class Amount:
    """What a part of the cost card says, or a module takes."""

    name: str
    parameters: int
    flops: float
    """FLOPs of a token, whatever its context."""
    attention_width: float
    """Width for which a token takes 4 FLOPs more for each key that it is compared with."""

    @property
    def numbers(self) -> tuple[float, float, float]:
        return self.parameters, self.flops, self.attention_width

    def __str__(self) -> str:
        named = zip(("parameters", "flops", "attention_width"), self.numbers, strict=True)
        return " ".join(f"{name}={value:.10g}" for name, value in named if value) or "nothing"


def total(amounts: list[Amount]) -> Amount:
    """Sum of several amounts, which has all of their names."""
    names = ", ".join(amount.name for amount in amounts)
    return Amount(
        names,
        sum(amount.parameters for amount in amounts),
        sum(amount.flops for amount in amounts),
        sum(amount.attention_width for amount in amounts),
    )


def check_cost(model: Decoder, copy: Decoder) -> None:
    """Raise Broken where the cost card is not the model's, naming the part and what to write there.

    Args:
        model: the very model, on PyTorch's meta device, where it takes no memory.
        copy: a small one on the CPU; its FLOPs are counted, which takes longer on the meta device.
    """
    in_copy = disagreement(copy)
    if in_copy is None and sum(p.numel() for p in model.parameters()) == cost(model.config).parameters:
        return
    try:
        at_size = disagreement(model)
    except (NotImplementedError, RuntimeError):  # it asks for values, which the meta device has none of
        at_size = None
    raise Broken(at_size or f"{in_copy} (at n_embd={copy.config.n_embd})")


def disagreement(model: Decoder) -> str | None:
    """Finds what the cost card says and the model does not bear out, at inference and in training."""
    said, found = priced(model.config, training=False), counted(model.eval())
    if total(said).numbers != total(found).numbers:
        return fault(said, found)
    length = min(LONGEST, model.config.block_size)
    ids = torch.zeros(1, length, dtype=torch.long, device=model.device)
    model.train()
    flops = counted_while(lambda: model.next_token_loss(ids, ids)).get_total_flops() / length
    said = priced(model.config, training=True)
    right = total(said).flops + 4 * total(said).attention_width * length
    if flops == right:
        return None
    found = counted(model)
    if total(said).numbers != total(found).numbers:
        return f"{fault(said, found)}, in training"
    return f"next_token_loss takes {flops:.10g} FLOPs a token in training, and the parts say {right:.10g}"


def priced(config: DecoderConfig, training: bool) -> list[Amount]:
    """Amounts that the parts of the card say; inference leaves out what is not active."""
    return [
        Amount(part.label, part.parameters, part.flops * runs, part.attention_width * runs)
        for part in config.layout()
        for runs in [training or part.active]
    ]


def counted(model: Decoder) -> list[Amount]:
    """Amounts that each block, and each module outside of the blocks, really takes."""
    long = min(LONGEST, model.config.block_size)
    short = max(1, long // 3)
    at_short, at_long = (flops_by_module(model, length) for length in (short, long))
    owners: dict[str, int] = {}
    for name, parameter in model.named_parameters():  # a tied one comes once
        owner = name.rpartition(".")[0]
        owners[owner] = owners.get(owner, 0) + parameter.numel()
    amounts = []
    for name, module in units(model):
        whole = isinstance(module, Block)
        inside = [child_name(name, child) for child, _ in module.named_children()]
        a, b = ((at[name] - (0 if whole else sum(at[child] for child in inside))) for at in (at_short, at_long))
        parameters = sum(n for owner, n in owners.items() if owner == name or (whole and owner.startswith(f"{name}.")))
        # a token takes `flops` + 4 * `attention_width` * length, as kernels read the whole square
        slope = (b / long - a / short) / (long - short) if long > short else 0.0
        inside_base = name.removeprefix(f"{model.base_model_prefix}.")
        amounts.append(Amount(inside_base, parameters, a / short - slope * short, slope / 4))
    return [amount for amount in amounts if any(amount.numbers)]


def units(model: nn.Module, name: str = "") -> Iterator[tuple[str, nn.Module]]:
    """The model's modules with their names; of a block, nothing of what is in it."""
    yield name, model
    if not isinstance(model, Block):
        for child, module in model.named_children():
            yield from units(module, child_name(name, child))


def child_name(name: str, child: str) -> str:
    """Full name of a module in the module called `name`."""
    return f"{name}.{child}" if name else child


def flops_by_module(model: Decoder, length: int) -> dict[str, int]:
    """FLOPs of one sequence, those of a module's children among its own."""
    ids = torch.zeros(1, length, dtype=torch.long, device=model.device)
    count = counted_while(lambda: model(ids, use_cache=False))
    root = type(model).__name__
    called = {name.removeprefix(root)[1:]: sum(f.values()) for name, f in count.get_flop_counts().items()}
    flops: dict[str, int] = {}
    # children first; a list of modules is never called
    for name, module in reversed(list(model.named_modules(remove_duplicate=False))):
        inside = sum(flops[child_name(name, child)] for child, _ in module.named_children())
        flops[name] = called.get(name, inside)
    return flops


@torch.no_grad()
def counted_while(read: Callable[[], object]) -> FlopCounterMode:
    """FLOPs of one call, with attention as plain products, which the counter sees on every device."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as count:
        read()
    return count


def fault(said: list[Amount], found: list[Amount]) -> str:
    """Message that names the parts and the modules that do not fit each other, and what would be right."""
    parts, modules = list(said), list(found)
    for part in said:
        if same := [module for module in modules if module.numbers == part.numbers]:
            parts.remove(part)
            modules.remove(same[0])
    parts = [part for part in parts if any(part.numbers)] or parts
    unit = "flops are those of a token, 2 for each weight of a matrix product"
    names, right, where = ", ".join(f"'{part.name}'" for part in parts), total(modules), total(modules).name
    if not parts:
        return f"no LayoutPart of body() describes {where}; write one with {right} ({unit})"
    if not modules:
        return f"LayoutPart {names}: {total(parts)} in the cost card and nothing in the model; leave it out"
    return f"LayoutPart {names}: {total(parts)} in the cost card, {right} in {where}; write {right} ({unit})"
