"""Export of a model as one ONNX graph that reads a prompt and continues it, with the cache as inputs and outputs.

    input_ids (B, T), attention_mask (B, S + T), position_ids (B, T), logits_to_keep (N,),
    past_key_values.0.key (B, H, S, K), past_key_values.0.value, ..., past_conv.0 (B, W, k - 1)
    -> logits (B, N, V), present.0.key (B, H, S + T, K), ...

The names are those that optimum and onnxruntime-genai look for; what a convolution keeps has names of its own. S is 0
at the first call, where the states of convolutions are zeros. The mask is 0 where a token is padding, which stands on
the left. logits_to_keep says of which of the T tokens logits are made, counted from 0; left out: of all. Letters: B
batch, T new tokens, S tokens of the cache, N tokens with logits, H heads, K head width, W width of the stream, k kernel
of a convolution, V vocabulary.
"""

import json
import logging
import math
import shutil
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from smallgpt.export.genai import genai_config
from smallgpt.export.graph_inputs import INPUTS, PAIR, cache_inputs, conv_kind, keep_all_by_default
from smallgpt.inference.onnx_engine import GRAPH, VERSION
from smallgpt.models.context import Context
from smallgpt.models.decoder import Decoder

OPSET = 20
STANDALONE = Path(__file__).with_name("standalone.py")
MOST_BYTES_IN_ONE_FILE = 1_500_000_000  # of weights; a protocol buffer ends at 2 GiB


class GraphCache:
    """Cache for the layers of a graph, in tensors that come and go."""

    def __init__(self, tensors: dict[tuple[str, int], Tensor]) -> None:
        self.tensors = tensors

    def update(self, key_BHTK: Tensor, value_BHTK: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        for kind, new_BHTK in zip(PAIR, (key_BHTK, value_BHTK), strict=True):
            self.tensors[kind, layer] = torch.cat((self.tensors[kind, layer], new_BHTK), dim=2)
        return self.tensors["key", layer], self.tensors["value", layer]

    def update_conv_state(self, x_BWT: Tensor, layer: int, state_idx: int, conv_kernel_size: int) -> Tensor:
        place = (conv_kind(state_idx), layer)
        whole_BWS = torch.cat((self.tensors[place], x_BWT), dim=-1)
        self.tensors[place] = whole_BWS[..., -conv_kernel_size:]
        return whole_BWS


class Graph(nn.Module):
    """Module around a model whose cache is plain tensors."""

    def __init__(self, model: Decoder) -> None:
        super().__init__()
        self.model = model
        self.inputs = cache_inputs(model.config)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, position_ids: Tensor, logits_to_keep: Tensor, *past: Tensor
    ) -> tuple[Tensor, ...]:
        T, total = input_ids.shape[1], attention_mask.shape[1]
        first = total - T  # with `narrow`: torch before 2.13 does not know the length of a slice from -T
        key_S = torch.arange(total, device=input_ids.device)
        query_T1 = key_S.narrow(0, first, T).unsqueeze(1)
        # padding sees itself, so that no softmax is empty
        mask_B1TS = (key_S <= query_T1) & attention_mask.bool()[:, None, None, :] | (key_S == query_T1)
        x_BTD = self.model.transformer.wte(input_ids)
        padding_BT1 = attention_mask.narrow(1, first, T).unsqueeze(2).to(x_BTD.dtype)
        pairs = zip(self.inputs, past, strict=True)
        cache = GraphCache({(each.kind, each.layer): tensor for each, tensor in pairs})
        theta = self.model.config.rope_theta
        context = Context(position_ids, mask_B1TS, cache, padding_BT1, theta)  # ty: ignore[invalid-argument-type]  # as one
        x_BNW = self.model.transformer.read(x_BTD, context).index_select(1, logits_to_keep)
        return self.model.lm_head(x_BNW), *(cache.tensors[each.kind, each.layer] for each in self.inputs)


def write_onnx_folder(model: Decoder, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Writes the graph in fp32 with its tokenizer and config, and a generate.py that needs nothing of smallgpt."""
    export_graph(model.float().eval(), folder / GRAPH)
    tokenizer.save_pretrained(folder)
    model.generation_config.save_pretrained(folder)
    config = model.config
    description = {
        "model_type": config.model_type,
        "graph_version": VERSION,
        **{key: getattr(config, key) for key in config.settable()},
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.eos_token_id,
        "cache": [{"past": each.past, "present": each.present, "shape": each.shape} for each in cache_inputs(config)],
    }
    (folder / "config.json").write_text(json.dumps(description, indent=2) + "\n")
    if genai := genai_config(config, tokenizer.eos_token_id):
        (folder / "genai_config.json").write_text(json.dumps(genai, indent=2) + "\n")
    shutil.copyfile(STANDALONE, folder / "generate.py")


def export_graph(model: Decoder, path: Path) -> None:
    """Writes a model's graph to a file; large weights go into a second file beside it."""
    graph = Graph(model)
    # sizes that differ from each other and from 1, which the exporter would take for fixed
    batch, time, past = 2, 3, 5
    ids = torch.zeros(batch, time, dtype=torch.long)
    positions = torch.arange(past, past + time).expand(batch, time).contiguous() % model.config.block_size
    mask = torch.ones(batch, past + time, dtype=torch.long)
    keep = torch.arange(4) % time
    examples = [each.example({"batch": batch, "past": past}) for each in graph.inputs]
    time_shape = {0: "batch", 1: "time"}
    dynamic = [{i: size for i, size in enumerate(each.shape) if isinstance(size, str)} for each in graph.inputs]
    with quiet(), torch.no_grad():
        from onnx_ir.passes.common import ClearMetadataAndDocStringPass

        program = torch.onnx.export(
            graph,
            (ids, mask, positions, keep, *examples),
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=[*INPUTS, "logits_to_keep", *(each.past for each in graph.inputs)],
            output_names=["logits", *(each.present for each in graph.inputs)],
            dynamic_shapes=(time_shape, {0: "batch", 1: "total"}, time_shape, {0: "kept"}, tuple(dynamic)),
        )
        assert program is not None
        keep_all_by_default(program.model)
        ClearMetadataAndDocStringPass()(program.model)  # it names files of this machine
        program.save(path, external_data=is_large(model))


def describe_weights(folder: Path, quantize: str) -> None:
    """Notes in config.json how the weights are stored, and how many bytes there are and are read for a token.

    Of a table that rows are looked up in, a token reads one.
    """
    import onnx

    graph = onnx.load(folder / GRAPH, load_external_data=False).graph
    readers: dict[str, set[str]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, set()).add(node.op_type)
    whole = read = 0
    for tensor in graph.initializer:
        size = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize * math.prod(tensor.dims)
        whole += size
        read += size // tensor.dims[0] if readers[tensor.name] == {"Gather"} and len(tensor.dims) > 1 else size
    path = folder / "config.json"
    known = {"quantize": quantize, "weight_bytes": whole, "weight_bytes_read_per_token": read}
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | known, indent=2) + "\n")


def is_large(model: Decoder) -> bool:
    """Whether a model's weights need a file of their own beside the graph."""
    return 4 * sum(p.numel() for p in model.parameters()) > MOST_BYTES_IN_ONE_FILE


@contextmanager
def quiet() -> Generator[None]:
    """Silences within the block what the exporter and the quantizer say about their own insides."""
    root = logging.getLogger()
    level, handlers = root.manager.disable, root.handlers[:]
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
        root.handlers[:] = handlers
