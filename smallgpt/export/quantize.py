"""Quantizing an ONNX graph: int8, whose inputs are rounded as they come, or int4 weights in blocks of 32.

Embeddings are int8 in both. What it does to the text is measured by `verify_onnx`.
"""

import os
import tempfile
from pathlib import Path
from typing import Any

from smallgpt.export.onnx_graph import quiet

BLOCK = 32


def quantize_graph(path: Path, kind: str, large: bool) -> None:
    """Replaces a graph in fp32 by a quantized one; `large`: with the weights in a file beside it."""
    with quiet(), tempfile.TemporaryDirectory(dir=path.parent) as temporary:
        done = Path(temporary, "done")
        done.mkdir()
        if kind == "int8_dynamic":
            to_int8(path, done / path.name, ["MatMul", "Gather"], large)
        else:
            half_way = Path(temporary, path.name)
            to_int4(path, half_way, large)
            to_int8(half_way, done / path.name, ["Gather"], large)
        for old in path.parent.glob(f"{path.name}*"):
            old.unlink()
        for new in done.iterdir():
            os.replace(new, path.parent / new.name)


def to_int8(source: Path, target: Path, kinds: list[str], large: bool) -> None:
    """Writes a graph whose operations of the named kinds have weights in eight bits, a scale per channel."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(
        source,
        target,
        op_types_to_quantize=kinds,
        per_channel=True,
        weight_type=QuantType.QUInt8,  # signed weights overflow on processors without VNNI, and nothing says so
        use_external_data_format=large,
    )


def to_int4(source: Path, target: Path, large: bool) -> None:
    """Writes a graph whose products have weights in int4, in blocks of 32."""
    import onnx
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    quantizer = MatMulNBitsQuantizer(onnx.load(source), bits=4, block_size=BLOCK, is_symmetric=False)
    quantizer.process()
    made: Any = quantizer.model  # of a class that only run time knows
    made.save_model_to_file(str(target), large)
