"""Cost of a model in closed form, from its config alone: parameters, FLOPs, cache, memory.

Matrix products of a token over p weights take 2p FLOPs forward; causal attention of width w over T positions takes
4 w (T + 1) / 2 a token on average; training takes three times the forward pass (forward, and two products backward).
Norms, activations and softmax are left out, as is usual (arXiv 2203.15556, appendix F).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from .configuration import DecoderConfig
from .loss import CHUNKED_FROM, rows_per_chunk

SHOWN = ("label", "group", "in_width", "out_width", "n_head", "head_width", "mlp_width", "parameters", "path")


@dataclass(frozen=True)
class Cost:
    """Cost card of a model: parameters, and FLOPs and bytes per token at a context of `sequence_length` tokens."""

    sequence_length: int
    parameters: int
    parameters_by_group: dict[str, int]
    parameters_without_embeddings: int
    """Parameters without the token embedding, learned positions and an untied output matrix."""
    forward_flops_per_token: float
    """Forward FLOPs of every part, the mean over the positions of one sequence."""
    attention_flops_per_token: float
    head_flops_per_token: float
    training_flops_per_token: float
    """Forward and backward FLOPs, and the forward FLOPs of a teacher where there is one."""
    inference_flops_per_token: float
    """Forward FLOPs without the parts that inference leaves out."""
    cache_bytes_per_token: int
    state_bytes: int
    """Bytes kept per sequence besides the cache, whatever its length."""
    layout: list[dict]
    """Every part in the order the data takes: its label, group, widths, parameters and path."""
    teacher_flops_per_token: float = 0.0
    """Forward FLOPs of the teacher whose logits the training learns from."""

    def to_dict(self) -> dict:
        return asdict(self)


def cost(config: DecoderConfig, sequence_length: int | None = None, cache_dtype_bytes: int = 2) -> Cost:
    """Cost of the model that `config` describes, at a context of `sequence_length` (its block size if not given).

    Cache and states are counted at `cache_dtype_bytes` per element.
    """
    length = sequence_length or config.block_size
    parts = config.layout()
    running = [part for part in parts if part.active]
    context = (length + 1) / 2
    kept = cache_dtype_bytes if config.can_cache else 0

    groups: dict[str, int] = {}
    for part in parts:
        groups[part.group] = groups.get(part.group, 0) + part.parameters
    total = sum(groups.values())
    tables = groups["embedding"] + groups.get("positions", 0) + parts[-1].parameters

    attention = sum(4 * part.attention_width * context for part in parts)
    forward = sum(part.flops for part in parts) + attention
    inference = sum(part.flops + 4 * part.attention_width * context for part in running)
    return Cost(
        sequence_length=length,
        parameters=total,
        parameters_by_group=groups,
        parameters_without_embeddings=total - tables,
        forward_flops_per_token=forward,
        attention_flops_per_token=attention,
        head_flops_per_token=parts[-1].flops,
        training_flops_per_token=3 * forward,
        inference_flops_per_token=inference,
        cache_bytes_per_token=kept * sum(part.cache_elements for part in running),
        state_bytes=kept * sum(part.state_elements for part in running),
        layout=[{name: getattr(part, name) for name in SHOWN} for part in parts],
    )


def training_cost(config: DecoderConfig, teacher: DecoderConfig | None = None) -> Cost:
    """Cost of a model whose training also runs a teacher on each token."""
    price = cost(config)
    if teacher is None:
        return price
    more = cost(teacher, config.block_size).inference_flops_per_token
    return replace(price, training_flops_per_token=price.training_flops_per_token + more, teacher_flops_per_token=more)


def cost_of_library_model(model: PreTrainedModel) -> Cost:
    """Cost of a model of transformers' own: its parameters, and the products with its matrices, without attention."""
    config = model.config.get_text_config()
    parameters = sum(each.numel() for each in model.parameters())
    output = model.get_output_embeddings()
    head = 0 if output is None else sum(each.numel() for each in output.parameters())
    tables = {id(p): p.numel() for m in model.modules() if isinstance(m, nn.Embedding) for p in m.parameters()}
    tables |= {} if output is None else {id(p): p.numel() for p in output.parameters()}
    inside = parameters - sum(tables.values())
    forward = 2.0 * (inside + head)
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return Cost(
        sequence_length=config.max_position_embeddings,
        parameters=parameters,
        parameters_by_group={"embeddings": sum(tables.values()), "blocks": inside},
        parameters_without_embeddings=inside,
        forward_flops_per_token=forward,
        attention_flops_per_token=0.0,
        head_flops_per_token=2.0 * head,
        training_flops_per_token=3 * forward,
        inference_flops_per_token=forward,
        cache_bytes_per_token=2 * 2 * config.num_hidden_layers * heads * width,
        state_bytes=0,
        layout=[],
    )


def training_memory(config: DecoderConfig, micro_batch: int, activation_bytes: int = 4) -> int:
    """Estimate of the peak bytes of a training step: weights, gradients, two moments, activations, logits."""
    parts = config.layout()
    tokens = micro_batch * config.block_size
    state = 16 * sum(part.parameters for part in parts)
    activations = activation_bytes * tokens * sum(part.activation_elements for part in parts)
    head = parts[-1]
    whole = tokens * config.vocab_size < CHUNKED_FROM
    rows = tokens if whole else rows_per_chunk(head.in_width, config.vocab_size)
    logits = 3 * 4 * rows * config.vocab_size
    return state + activations + logits


def sequence_bytes(config: PreTrainedConfig, prompt: int, longest: int, itemsize: int) -> int | None:
    """Bytes that each sequence of a batch takes at least, beside the weights; None for models without a closed form.

    The cache of all its tokens, the logits of the last one, and what the widest block holds while it reads the prompt:
    the stream, its norm, and the MLP before and behind its activation.
    """
    if not isinstance(config, DecoderConfig):
        return None
    price = cost(config, longest, itemsize)
    hidden = 3 if config.activation == "swiglu" else 2
    widest = max(2 * shape.width + hidden * shape.mlp_width for shape in config.block_shapes())
    cache = price.cache_bytes_per_token * longest + price.state_bytes
    read_at_once = prompt if config.can_cache else longest
    return cache + 4 * config.vocab_size + itemsize * read_at_once * widest
