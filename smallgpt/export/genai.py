"""Config by which onnxruntime-genai, a library for generating text, runs an exported graph."""

from typing import Any

from smallgpt.export.graph_inputs import INPUTS, PAIR, cache_inputs
from smallgpt.inference.onnx_engine import GRAPH
from smallgpt.models.configuration import DecoderConfig


def genai_config(config: DecoderConfig, end: int) -> dict[str, Any] | None:
    """Content of genai_config.json, by which onnxruntime-genai runs a graph; None where it cannot.

    It takes caches of keys and values alone, of one number of heads and one width of a head in all layers.
    """
    inputs = cache_inputs(config)
    shapes = {each.shape for each in inputs}
    if len(shapes) != 1 or any(each.kind not in PAIR for each in inputs):
        return None
    ((_, heads, _, width),) = shapes
    names = {key: f"past_key_values.%d.{key}" for key in PAIR}, {key: f"present.%d.{key}" for key in PAIR}
    return {
        "model": {
            "type": "decoder",
            "bos_token_id": end,
            "eos_token_id": end,
            "pad_token_id": end,
            "context_length": config.block_size,
            "vocab_size": config.vocab_size,
            "decoder": {
                "filename": GRAPH,
                "session_options": {"provider_options": []},
                "hidden_size": config.n_embd,
                "head_size": width,
                "num_attention_heads": heads,
                "num_key_value_heads": heads,
                "num_hidden_layers": len(inputs) // len(PAIR),
                "inputs": {**{name: name for name in INPUTS}, **{f"past_{key}_names": names[0][key] for key in PAIR}},
                "outputs": {"logits": "logits", **{f"present_{key}_names": names[1][key] for key in PAIR}},
            },
        },
        "search": {"do_sample": False, "max_length": config.block_size, "past_present_share_buffer": False},
    }
