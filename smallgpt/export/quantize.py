"""Graphs with smaller numbers: int8, whose inputs are rounded as they come, or int4 weights in blocks of 32."""

import os
import tempfile
from pathlib import Path

from smallgpt.export.onnx_graph import quiet

BLOCK = 32


def quantize_graph(path: Path, kind: str, large: bool) -> None:
    """Puts a quantized graph in the place of one in fp32; `large`: with the weights in a file beside it."""
    with quiet(), tempfile.TemporaryDirectory(dir=path.parent) as temporary:
        target = Path(temporary) / path.name
        if kind == "int8_dynamic":
            from onnxruntime.quantization import QuantType, quantize_dynamic

            quantize_dynamic(
                path,
                target,
                op_types_to_quantize=["MatMul", "Gather"],
                per_channel=True,
                weight_type=QuantType.QInt8,
                use_external_data_format=large,
            )
        else:
            import onnx
            from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

            quantizer = MatMulNBitsQuantizer(onnx.load(path), bits=4, block_size=BLOCK, is_symmetric=False)
            quantizer.process()
            quantizer.model.save_model_to_file(str(target), large)
        for old in path.parent.glob(f"{path.name}*"):
            old.unlink()
        for new in Path(temporary).iterdir():
            os.replace(new, path.parent / new.name)
