"""Greedy generation at the paper's size, batch 1, after 64 tokens: the library's GPT-2 and models of ours, in turn.

    python -m benchmarks.inference
    python -m benchmarks.inference --size tiny --rounds 3 --new-tokens 32

The library's model has its cache and the weights of our GPT, so both must make the same ids. Weights are random, which
changes no time. Limit: the bytes of weights and cache that a token reads, over the bandwidth of a copy.
"""

import argparse
import math
import statistics
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import torch
from omegaconf import OmegaConf
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedModel, PreTrainedTokenizerFast
from transformers.utils.logging import disable_progress_bar, set_verbosity_error

from smallgpt.export import onnx_graph
from smallgpt.export.quantize import quantize_graph
from smallgpt.inference import batched_paths
from smallgpt.inference.onnx_engine import GRAPH
from smallgpt.launch.config_files import CONF
from smallgpt.machine.rates import copy_bandwidth
from smallgpt.models.configuration import DecoderConfig
from smallgpt.models.gpt import GPT, GPTConfig
from smallgpt.models.lineargpt import LinearGPT, LinearGPTConfig
from smallgpt.models.parallelgpt import ParallelGPT, ParallelGPTConfig
from smallgpt.speed.benchmark import in_turn
from smallgpt.speed.measured_models import MeasuredGraph, MeasuredModel, TokenClock
from smallgpt.speed.roofline import Work, demand

VOCABULARY = 50304
PROMPT = 64


def shape(size: str) -> dict:
    """Fields of a config of that size."""
    values = OmegaConf.load(CONF / "size" / f"{size}.yaml")
    return {**OmegaConf.to_container(values.model), "vocab_size": VOCABULARY}


def of_the_library(ours: PreTrainedModel) -> PreTrainedModel:
    """GPT-2 with the weights of a GPT of ours; its biases, which ours lacks, are 0."""
    config: DecoderConfig = ours.config
    theirs = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=config.vocab_size,
            n_positions=config.block_size,
            n_embd=config.n_embd,
            n_layer=config.n_layer,
            n_head=config.n_head,
            activation_function="gelu",
            tie_word_embeddings=False,
        )
    )
    weights = {name: torch.zeros_like(value) for name, value in theirs.state_dict().items()}
    for name, value in ours.state_dict().items():
        key = name.removeprefix("transformer.").removeprefix("backbone.")
        transposed = key.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight"))  # stored (in, out) there
        weights[key if key.startswith("lm_head") else f"transformer.{key}"] = value.T if transposed else value
    theirs.load_state_dict(weights)
    return theirs.eval()


def in_onnx_runtime(name: str, model: PreTrainedModel, folder: Path, quantize: str = "none") -> MeasuredModel:
    words = WordLevel({str(token): token for token in range(VOCABULARY)}, unk_token="0")
    folder.mkdir()
    onnx_graph.write_onnx_folder(
        model, PreTrainedTokenizerFast(tokenizer_object=Tokenizer(words), eos_token="0"), folder
    )
    if quantize != "none":
        quantize_graph(folder / GRAPH, quantize, onnx_graph.is_large(model))
    onnx_graph.describe_weights(folder, quantize)
    return MeasuredGraph(name, folder)


def subjects(size: str, folder: Path) -> list[MeasuredModel]:
    """The library's model comes first; graphs are kept in the folder."""
    values = shape(size)

    def gpt() -> PreTrainedModel:
        torch.manual_seed(0)
        return GPT(GPTConfig(**values))

    def parallel(paths: list[int] | None) -> PreTrainedModel:
        torch.manual_seed(0)
        return ParallelGPT(ParallelGPTConfig(**values, active_paths=paths))

    def in_parallel(name: str, narrow: float) -> MeasuredModel:
        with patch.object(batched_paths, "NARROW", narrow):  # all widths under it are narrow
            return MeasuredModel(name, parallel(None))

    def linear() -> PreTrainedModel:
        return LinearGPT(LinearGPTConfig(**values, allow_narrow=True))

    return [
        MeasuredModel("transformers' GPT-2 fp32", of_the_library(gpt())),
        MeasuredModel("GPT fp32", gpt()),
        MeasuredModel("GPT fp32 compiled", gpt(), compiled=True),
        MeasuredModel("GPT bf16", gpt(), "bf16"),
        MeasuredModel("GPT int8_weight", gpt(), "int8_weight"),
        MeasuredModel("GPT int8_weight compiled", gpt(), "int8_weight", compiled=True),
        MeasuredModel("GPT int8_dynamic", gpt(), "int8_dynamic"),
        MeasuredModel("LinearGPT fp32", linear()),
        MeasuredModel("LinearGPT fp32 compiled", linear(), compiled=True),
        in_parallel("ParallelGPT fp32", 0),
        in_parallel("ParallelGPT paths as a batch", math.inf),
        MeasuredModel("ParallelGPT one path fp32", parallel([0])),
        in_onnx_runtime("GPT fp32, ONNX Runtime", gpt(), folder / "gpt"),
        in_onnx_runtime("GPT int8_dynamic, ONNX Runtime", gpt(), folder / "int8", "int8_dynamic"),
        in_onnx_runtime("GPT int4, ONNX Runtime", gpt(), folder / "int4", "int4"),
        in_onnx_runtime("LinearGPT fp32, ONNX Runtime", linear(), folder / "linear"),
    ]


def line(
    subject: MeasuredModel, seconds: list[float], library: list[float], work: Work, bandwidth: float, read: int
) -> str:
    """One row of the table; `read` stands for what has no closed form."""
    ratios = [theirs / own for theirs, own in zip(library, seconds, strict=True)]
    middle = statistics.median(seconds)
    share = (demand(subject, work, subject.read_bytes).bytes or read) / bandwidth / middle
    return (
        f"{subject.name:30} {1e3 * middle:6.2f} ms a token [{1e3 * min(seconds):.2f}..{1e3 * max(seconds):.2f}], "
        f"{statistics.median(ratios):.2f} times as fast [{min(ratios):.2f}..{max(ratios):.2f}], "
        f"{share:.0%} of the limit"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--new-tokens", type=int, default=128)
    parser.add_argument("--size", default="paper", help="a file of conf/size")
    arguments = parser.parse_args()
    disable_progress_bar()
    set_verbosity_error()
    with TemporaryDirectory() as folder:
        models = subjects(arguments.size, Path(folder))
    library, *ours = models[:3]
    bandwidth = copy_bandwidth(torch.device("cpu"))
    work = Work("decode", PROMPT, arguments.new_tokens)
    ids = [subject.generate(subject.prompt(work), work.new_tokens, TokenClock()) for subject in models[:3]]
    for subject in models:
        subject.token_times(work)
    times = [each[work] for each in in_turn(models, [work], arguments.rounds)]
    read = demand(ours[0], work, ours[0].read_bytes).bytes
    print(f"{torch.get_num_threads()} threads, copies at {bandwidth / 1e9:.1f} GB/s, {arguments.rounds} rounds")
    for subject, seconds in zip(models, times, strict=True):
        print(line(subject, seconds, times[0], work, bandwidth, read))
    for subject, made in zip(ours, ids[1:], strict=True):
        print(f"ids of {library.name} and {subject.name} are {'equal' if torch.equal(ids[0], made) else 'NOT equal'}")


if __name__ == "__main__":
    main()
