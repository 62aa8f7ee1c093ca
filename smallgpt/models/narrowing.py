"""Narrowing: the first weights of a small model, made from those of a trained one that is wider, deeper or as large.

What has the same place and shape is copied. A stream of D coordinates is narrowed to W by one orthonormal basis B, of
D x W, for all that reads or writes it (SliceGPT, arXiv 2401.15024): a map M that reads becomes M B, one that writes
becomes B' M. It may, because x / rms(x) turns as x does: a norm's gain is folded into what reads it, but for its root
mean square, and a LayerNorm's mean is taken out by a basis that is orthogonal to the vector of ones on both sides. A
tied head cannot take a gain that is turned, and keeps the nearest one. B spans the directions of most energy in what is
written: the first singular vectors of all maps into the stream, stacked; on trained models they did as well as those of
the stream itself on text, and need none. Behind it, the value and output maps of a head, and its queries and keys where
no positions are rotated, become the truncated SVD of their product; of rotated ones, pairs are taken at even distances,
which have the frequencies that narrower heads have. MLPs keep the hidden units of the largest maps, and of more blocks
some are taken at even distances, the first and the last among them.

Letters in names: D width of the stream given, W of the one made, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from .configuration import DecoderConfig
from .decoder import Decoder
from .layers import Block
from .narrow_blocks import Reading, behind, double, fill, lifted, narrow_attention, narrow_mlp
from .truncation import evenly_spaced, nested_bases, product_error
from .width_schedule import CarriedBlock, CausalConv, Resize

SAME = ("vocab_size", "position_encoding", "rope_theta", "norm", "qk_norm", "activation", "bias")
"""Fields that both models have in common: others would give the same weights another meaning."""

HARMLESS = frozenset(("dropout", "zero_init", "allow_narrow", "min_width"))
"""Fields that change nothing about weights that are given."""


@dataclass
class Narrowing:
    """How far the products of maps in a model that was made narrower are from those it was made from."""

    layers: list[int] = field(default_factory=list)
    """Block of the given model that each block was made from, counted from 0."""
    errors: dict[str, float] = field(default_factory=dict)
    """Norm of the difference over the norm of the product, by what is multiplied; of blocks, the root mean square."""
    own: list[str] = field(default_factory=list)
    """Weights that nothing was given for: they stay as they begin."""


def named(model: nn.Module, name: str) -> Any:
    """The module of this name, wherever in the model it stands; None where it has none."""
    return next((module for path, module in model.named_modules() if path.split(".")[-1] == name), None)


def stream_moment(source: Decoder, layers: Sequence[int]) -> Tensor:
    """Second moment, (D, D), of all that is written to the stream by maps: embeddings, and outputs of these blocks."""
    blocks = [named(source, "h")[i] for i in layers]
    writes = [double(linear.weight).T for block in blocks for linear in (block.attn.c_proj, block.mlp.c_proj)]
    writes += [double(table.weight) for table in (named(source, "wte"), named(source, "wpe")) if table is not None]
    rows = torch.cat(writes)
    moment = rows.T @ rows
    if source.config.norm == "layernorm":  # which takes out the mean
        moment = moment - moment.mean(0, keepdim=True)
        moment = moment - moment.mean(1, keepdim=True)
    return moment


def bases_of(target: Decoder, moment_DD: Tensor, centred: bool) -> dict[int, Tensor | None]:
    """Basis of each width that the stream has in a model; None where it is the given stream as it is.

    Where narrow blocks work on the first coordinates of a wide stream, or an operator drops the others, no learned map
    turns one width into another: the wide stream is then turned too.
    """
    config, given = target.config, moment_DD.shape[0]
    widths = {config.n_embd, config.output_width, *(shape.width for shape in config.block_shapes())}
    if widths == {given} or not any(isinstance(module, CarriedBlock | Resize) for module in target.modules()):
        return {given: None, **nested_bases(moment_DD, widths - {given}, centred)}
    return {**nested_bases(moment_DD, widths, centred)}


def narrow(target: Decoder, source: Decoder) -> Narrowing:
    """Fills a model's weights from those of another that is as wide or wider, and says how near it came.

    Raises:
        ValueError: there is no way from the one to the other, see `refuse_unlike`.
    """
    refuse_unlike(target, source)
    config, centred = target.config, target.config.norm == "layernorm"
    layers = evenly_spaced(config.n_layer, source.config.n_layer)
    bases = bases_of(target, stream_moment(source, layers), centred)
    ours, theirs = named(target, "h"), named(source, "h")
    rope, errors = config.position_encoding == "rope", []
    for block, shape, old in zip(ours, config.block_shapes(), [theirs[i] for i in layers], strict=True):
        basis = bases[shape.width]
        attention = narrow_attention(block.attn, old.attn, (block.ln_1, old.ln_1), basis, rope)
        errors.append((attention, narrow_mlp(block.mlp, old.mlp, (block.ln_2, old.ln_2), basis)))
    for index, conv in operators(target):
        before, after = (bases[width] for width in config.resizes()[index])
        turn_stream(conv, before, after, source.config.n_embd)
    of_head = narrow_tables(target, source, bases)
    attention, mlp = (math.sqrt(sum(e * e for e in kind) / len(kind)) for kind in zip(*errors, strict=True))
    products = {"embedding and head": of_head, "values and outputs": attention, "MLP": mlp}
    return Narrowing(layers, products, own_weights(target))


def operators(model: nn.Module) -> list[tuple[int, CausalConv]]:
    """Learned operators between two widths, each with the index of the block that it stands behind."""
    holder = named(model, "resize")
    children = [] if holder is None else holder.named_children()
    return [(int(name), module) for name, module in children if isinstance(module, CausalConv)]


def turn_stream(conv: CausalConv, before: Tensor | None, after: Tensor | None, width: int) -> None:
    """Makes an operator between two widths the map from the basis of the one to that of the other."""
    own = torch.eye(width, dtype=torch.float64)
    turn = (own if before is None else before).T @ (own if after is None else after)
    weight = torch.zeros_like(conv.proj.weight)
    weight[:, -turn.shape[0] :] = turn.T  # of several tokens the current one, which comes last
    fill(conv.proj, weight, torch.zeros_like(conv.proj.bias))


def narrow_tables(target: Decoder, source: Decoder, bases: dict[int, Tensor | None]) -> float:
    """Fills embeddings, final norm and output head; returns the error of the product of embedding and head."""
    config = target.config
    at_start, at_end = bases[config.n_embd], bases[config.output_width]
    for name in ("wte", "wpe"):
        if (table := named(target, name)) is not None:
            rows = double(named(source, name).weight)[: table.num_embeddings]
            fill(table, rows if at_start is None else rows @ at_start)
    given = Reading.of(source.get_output_embeddings(), named(source, "ln_f"))
    read, final_norm = given.through(at_end), named(target, "ln_f")
    head: Any = target.get_output_embeddings()
    projection = named(target, "head_proj")
    size, gain_W, shift_W = given.gain_D.square().mean().sqrt(), read.gain_D, read.shift_D
    if projection is not None:  # it takes the gain, so that the head may be the embedding
        assert at_end is not None
        folded = at_end * (given.gain_D / size)[:, None]
        fill(projection, folded if at_start is None else at_start.T @ folded)
        if not config.tie_word_embeddings:
            fill(head, given.weight_ND if at_start is None else given.weight_ND @ at_start)
    elif not config.tie_word_embeddings:
        fill(head, read.weight_ND)
    elif at_end is not None:  # turned, a gain is no gain: the nearest one, column by column
        made_VW, wanted_VW = double(head.weight), read.weight_ND * gain_W
        gain_W = (made_VW * wanted_VW).sum(0) / made_VW.square().sum(0).clamp(min=1e-12)
    if given.shift_D is not None and at_end is not None:
        shift_W = (given.shift_D * size / given.gain_D) @ at_end
    fill(final_norm, gain_W, shift_W)
    head_VW = double(head.weight)
    made_VW = head_VW if projection is None else head_VW @ double(projection.weight)
    norm, E_VW = named(source, "ln_f"), double(named(target, "wte").weight)
    write, read = behind(norm, double(named(source, "wte").weight).T, given.folded_ND)
    made = lifted(E_VW.T, at_start), lifted(made_VW * double(final_norm.weight), at_end, transposed=True)
    made_write, made_read = behind(norm, *made)
    return product_error(read, write, made_read, made_write)


def own_weights(target: Decoder) -> list[str]:
    """Weights of a backbone that no block, and no operator between widths, of a chain has."""
    filled = {
        id(weight)
        for block in named(target, "h")
        for module in (block.ln_1, block.attn, block.ln_2, block.mlp)
        for weight in module.parameters()
    }
    filled |= {id(weight) for _, conv in operators(target) for weight in conv.parameters()}
    return [name for name, weight in named(target, "backbone").named_parameters() if id(weight) not in filled]


def same_model(ours: DecoderConfig, theirs: DecoderConfig) -> bool:
    """Whether weights of the one model are weights of the other as they are."""
    harmless = HARMLESS | ours.free_at_inference
    keys = ours.settable().keys() - harmless
    return type(ours) is type(theirs) and all(getattr(ours, key) == getattr(theirs, key) for key in keys)


def refuse_unlike(target: Decoder, source: Decoder) -> None:
    """Raises ValueError, with a message of one line, where a model cannot begin from the weights of another."""
    ours, theirs = target.config, source.config
    for key in SAME:
        if key == "rope_theta" and ours.position_encoding != "rope":
            continue
        if (asked := getattr(ours, key)) != (own := getattr(theirs, key)):
            raise ValueError(f"{key}={asked}: the weights are those of {key}={own}, and mean nothing with another")
    if ours.tie_word_embeddings and not theirs.tie_word_embeddings:
        raise ValueError("tie_word_embeddings=true: the weights have a head of their own; give false")
    if ours.position_encoding == "learned" and ours.block_size > theirs.block_size:
        raise ValueError(f"block_size={ours.block_size}: there are {theirs.block_size} learned positions; give no more")
    for key in ("n_layer", "n_embd", "n_head"):
        if (asked := getattr(ours, key)) > (own := getattr(theirs, key)):
            raise ValueError(f"{key}={asked}: a training begins from weights of as many or more, and these have {own}")
    for model, what in ((source, "the weights are"), (target, "the model is")):
        blocks = named(model, "h")
        if not isinstance(blocks, nn.ModuleList) or not all(isinstance(block, Block) for block in blocks):
            raise ValueError(f"_target_={type(model).__name__}: {what} no chain of blocks")
    if own_weights(source) or operators(source) or any(type(b) is not Block for b in named(source, "h")):
        raise ValueError(
            f"_target_={type(target).__name__}: weights of a {theirs.model_type} model begin one of the very same "
            "shape alone; those of gpt and taper also a narrower one"
        )
    if any(isinstance(module, Resize) and module.operator == "pool" for module in target.modules()):
        raise ValueError("downsample_operator=pool: mixes coordinates; give linear, conv, carry or pad")
    shapes, given = ours.block_shapes(), theirs.block_shapes()[0]
    if wide := next((shape for shape in shapes if shape.head_width > given.head_width), None):
        raise ValueError(
            f"n_head={ours.n_head}: makes heads {wide.head_width} wide, and the weights have some of {given.head_width}"
        )
    if max(ours.output_width, *(shape.width for shape in shapes)) > theirs.n_embd:
        raise ValueError(f"widths: none may be over {theirs.n_embd}, that of the weights")
