"""Variants that break the contract, each in one way, and what they are told."""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from smallgpt.models.configuration import DecoderConfig, LayoutPart
from smallgpt.models.decoder import Decoder
from smallgpt.models.gpt import GPTBackbone


class CheatConfig(DecoderConfig):
    model_type = "cheat"


def variant(config_class=CheatConfig, **parts):
    """A class of a model whose backbone, or itself, has the given methods."""
    backbone = (
        type("Backbone", (GPTBackbone,), {"forward": parts.pop("forward")}) if "forward" in parts else GPTBackbone
    )
    return type("Cheat", (Decoder,), {"config_class": config_class, "backbone_class": backbone, **parts})


def over_blocks(change):
    """Blocks, and before each of them `change(backbone, stream, context, index)`."""

    def forward(self, x_BTD, context):
        for i, block in enumerate(self.h):
            x_BTD = block(change(self, x_BTD, context, i), context)
        return x_BTD

    return forward


def rolled(self, x, context, i):
    return x + 0.1 * x.roll(-1, 1) if i == 1 else x


def rolled_in_training(self, x, context, i):
    return rolled(self, x, context, i) if self.training else x


def hard_roll(self, x, context, i):
    return x + 0.5 * x.detach().roll(-1, 1) if i == 1 else x


def far_ahead(self, x, context, i):
    """At one place of a long text."""
    if i == 1 and x.shape[1] > 260:
        x = x.clone()
        x[:, 250] = x[:, 250] + x[:, 260]
    return x


def mean_over_batch(self, x, context, i):
    return x - x.mean(0, keepdim=True) if i == 1 else x


def batch_norm(self, x, context, i):
    return (x - x.mean((0, 1))) / x.std((0, 1)) if i == 1 and self.training else x


def share_of_length(self, x, context, i):
    """How long the text is."""
    return x * (1 + 1 / x.shape[1]) if i == 1 else x


def memory(self, x, context, i):
    """Goes on from the text before."""
    if i == 1:
        before = getattr(self, "before", None)
        self.before = x.detach().mean((0, 1))
        return x if before is None else x + before
    return x


def dropout(self, x, context, i):
    return F.dropout(x, 0.1, training=True) if i == 1 else x


def previous_token(self, x, context, i):
    """Reads the token before, which no cache keeps."""
    return x + 0.5 * F.pad(x, (0, 0, 1, 0))[:, :-1] if i == 1 else x


def previous_token_kept_outside(self, x, context, i):
    """Keeps the token before where rows cannot be told apart."""
    if i != 1:
        return x
    first = context.cache is None or context.cache.get_seq_length() == x.shape[1]  # block 0 has been read
    before = torch.zeros_like(x[:, :1]) if first else self.kept
    self.kept = x[:, -1:]
    return x + 0.5 * torch.cat((before, x), 1)[:, :-1]


def running_sum(self, x, context, i):
    """Padding goes into it too."""
    return x + 0.1 * x.cumsum(1) if i == 1 else x


def shortened(self, x_BTD, context):
    """Between the first and the last block time has half as many places: the tokens at even ones."""
    first, *middle, last = self.h
    x_BTD = first(x_BTD, context)
    y_BtD = x_BTD[:, ::2]
    for block in middle:
        y_BtD = block(y_BtD, context)
    y_BTD = y_BtD.repeat_interleave(2, 1)[:, : x_BTD.shape[1]]
    return last(x_BTD + F.pad(y_BTD, (0, 0, 1, 0))[:, :-1], context)


def one_token_less(self, x_BTD, context):
    return GPTBackbone.forward(self, x_BTD, context)[:, 1:]


def reading_targets(self, input_ids, targets, reduction="mean"):
    return 0.1 * Decoder.next_token_loss(self, input_ids, targets, reduction)


def over_all_targets(self, input_ids, targets, reduction="mean"):
    """A mean whose count takes in what is not scored."""
    loss = Decoder.next_token_loss(self, input_ids, targets, "sum")
    return loss / targets.numel() if reduction == "mean" else loss


def with_map(train_only=False, **part):
    """A map beside the blocks, as the guide's variant has it, and what its LayoutPart says; none: there is no Part."""

    class Config(CheatConfig):
        model_type = "cheat"

        def body(self):
            d = self.n_embd
            costs = {name: said(d) for name, said in part.items()}
            return [*([LayoutPart("mix", "mixing", d, d, **costs)] if costs else []), *super().body()]

    class Backbone(GPTBackbone):
        def __init__(self, config):
            super().__init__(config)
            self.mix = nn.Linear(config.n_embd, config.n_embd, bias=False)

        def forward(self, x_BTD, context):
            return super().forward(x_BTD + self.mix(x_BTD) if self.training or not train_only else x_BTD, context)

    return type("Cheat", (Decoder,), {"config_class": Config, "backbone_class": Backbone})


class SharingConfig(CheatConfig):
    """One block is run as often as there are layers, which no cache knows."""

    can_cache = False

    def body(self):
        first, *others = super().body()
        return [first, *(replace(part, parameters=0) for part in others)]


class Sharing(Decoder):
    class Backbone(GPTBackbone):
        def __init__(self, config):
            super().__init__(config)
            self.h = nn.ModuleList([self.h[0]] * config.n_layer)

    config_class = SharingConfig
    backbone_class = Backbone


class Ahead(Decoder):
    """For the command line."""

    config_class = CheatConfig
    backbone_class = type("Backbone", (GPTBackbone,), {"forward": over_blocks(rolled)})


def previous_token_but_no_padding(self, x, context, i):
    return previous_token(self, x if context.padding_BT1 is None else x * context.padding_BT1, context, i)


class UncachedConfig(DecoderConfig):
    model_type = "uncached"
    can_cache = False


class Uncached(Decoder):
    """Reads the token before, keeps nothing in the cache and says so."""

    config_class = UncachedConfig
    backbone_class = type("Backbone", (GPTBackbone,), {"forward": over_blocks(previous_token_but_no_padding)})


for _model in (Ahead, Uncached):
    AutoConfig.register(_model.config_class.model_type, _model.config_class, exist_ok=True)
    AutoModelForCausalLM.register(_model.config_class, _model, exist_ok=True)
