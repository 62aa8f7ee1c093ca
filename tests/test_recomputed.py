"""Numbers of runs and of their report, recomputed from the raw text and the weights by code that shares nothing.

The forward pass below is written anew from the papers and reads the checkpoints' tensors by name; the only things taken
from a run are its files. It holds for every variant, both kinds of block, every micro-batch and number of processes.
"""

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from command_line import CommandLine
from safetensors.torch import load_file
from scipy import stats
from tokenizers import Tokenizer

VARIANTS = ("gpt", "parallelgpt", "lineargpt", "convgpt")
CONTEXT = 32
COMMON = (
    *(
        "size=debug",
        f"model.block_size={CONTEXT}",
        "model.n_layer=2",
        "model.n_embd=64",
        "data=files",
        "data.path=text",
    ),
    *("tokenizer.vocab_size=300", "batch.tokens=128", "budget.tokens=1024", "data.dedupe=none", "trainer=cpu"),
    *("generation.max_new_tokens=4", "validation.final_tokens=null"),
)


def write_text(folder: Path) -> list[str]:
    """Writes a corpus with given splits; returns the documents of its validation split."""
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdefghij"), rng.integers(2, 7))) for _ in range(60)]

    def document() -> str:
        return " ".join(rng.choice(words, rng.integers(5, 60))) + ". Größe"

    folder.mkdir()
    splits = {"train": [document() for _ in range(80)], "validation": [document() for _ in range(25)]}
    for name, documents in splits.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in documents))
    return splits["validation"]


@dataclass
class Checkpoint:
    """A checkpoint's tensors in double precision, and what its config says."""

    folder: Path

    def __post_init__(self) -> None:
        self.config: dict[str, Any] = json.loads((self.folder / "config.json").read_text())
        self.weights = {
            name.removeprefix("transformer."): w.double()
            for name, w in load_file(self.folder / "model.safetensors").items()
        }
        self.tokenizer = Tokenizer.from_file(str(self.folder / "tokenizer.json"))

    def norm(self, x: torch.Tensor, name: str) -> torch.Tensor:
        weight = self.weights[f"{name}.weight"]
        if self.config["norm"] == "rmsnorm":
            return x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt() * weight
        centred = x - x.mean(-1, keepdim=True)
        return centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt() * weight

    def linear(self, x: torch.Tensor, name: str) -> torch.Tensor:
        return F.linear(x, self.weights[f"{name}.weight"], self.weights.get(f"{name}.bias"))

    def rotated(self, x: torch.Tensor) -> torch.Tensor:
        """Rotary positions as complex numbers of the two halves of each head."""
        half = x.shape[-1] // 2
        speed = 1 / 10000.0 ** (torch.arange(half, dtype=torch.float64) / half)
        turn = torch.polar(torch.ones(()).double(), torch.arange(x.shape[1])[:, None] * speed)
        z = torch.complex(x[..., :half], x[..., half:]) * turn
        return torch.cat((z.real, z.imag), -1)

    def block(self, x: torch.Tensor, name: str) -> torch.Tensor:
        T, width = x.shape
        heads = self.config["n_head"]
        q, k, v = self.linear(self.norm(x, f"{name}.ln_1"), f"{name}.attn.c_attn").chunk(3, -1)
        q, k, v = (part.view(T, heads, -1).transpose(0, 1) for part in (q, k, v))
        if self.config["qk_norm"]:
            least = torch.finfo(torch.float32).eps
            q, k = (part / (part.square().mean(-1, keepdim=True) + least).sqrt() for part in (q, k))
        if self.config["position_encoding"] == "rope":
            q, k = self.rotated(q), self.rotated(k)
        weights = (q @ k.transpose(1, 2) / math.sqrt(width // heads)).masked_fill(
            ~torch.ones(T, T).tril().bool(), -1e300
        )
        x = x + self.linear((weights.softmax(-1) @ v).transpose(0, 1).reshape(T, width), f"{name}.attn.c_proj")
        h = self.linear(self.norm(x, f"{name}.ln_2"), f"{name}.mlp.c_fc")
        if self.config["activation"] == "swiglu":
            gate, up = h.chunk(2, -1)
            h = gate * torch.sigmoid(gate) * up
        else:
            h = h * 0.5 * (1 + torch.erf(h / math.sqrt(2)))
        return x + self.linear(h, f"{name}.mlp.c_proj")

    def body(self, x: torch.Tensor) -> torch.Tensor:
        if self.config["model_type"] == "smallgpt-parallel":
            ends = []
            for path in range(self.config["n_path"]):
                y = self.linear(x, f"backbone.inputs.{path}")
                for i in range(self.config["n_layer"] // self.config["n_path"]):
                    y = self.block(y, f"backbone.paths.{path}.{i}")
                ends.append(y)
            share = torch.sigmoid(self.weights["backbone.path_weight"])  # of two paths
            return share * ends[0] + (1 - share) * ends[1]
        for i in range(self.config["n_layer"]):
            x = self.block(x, f"backbone.h.{i}")
            if f"backbone.resize.{i}.proj.weight" in self.weights:
                taps = self.config.get("kernel_size", 1)
                past = F.pad(x, (0, 0, taps - 1, 0))
                x = self.linear(torch.cat([past[j : j + len(x)] for j in range(taps)], -1), f"backbone.resize.{i}.proj")
        return x

    def logarithms(self, ids: list[int]) -> torch.Tensor:
        """Natural logarithms of the probabilities of the next token, (T, V)."""
        x = self.weights["wte.weight"][ids]
        if "wpe.weight" in self.weights:
            x = x + self.weights["wpe.weight"][: len(ids)]
        x = self.norm(self.body(x), "ln_f")
        if "head_proj.weight" in self.weights:
            x = self.linear(x, "head_proj")
        head = self.weights.get("lm_head.weight", self.weights["wte.weight"])
        return (x @ head.T).log_softmax(-1)

    def nats(self, text: str) -> tuple[float, int]:
        """Nats of a document behind the end-of-text token, and its tokens; each window sees as much as it can."""
        ids = self.tokenizer.encode(text, add_special_tokens=False).ids
        known = [self.tokenizer.token_to_id("<|endoftext|>"), *ids]
        total = 0.0
        for begin in range(0, len(ids), CONTEXT):
            end = min(begin + CONTEXT, len(ids))
            first = max(0, end - CONTEXT)
            logp = self.logarithms(known[first:end])
            total -= sum(float(logp[i - first, known[i + 1]]) for i in range(begin, end))
        return total, len(ids)


def assert_same_scores(run_dir: Path, documents: list[str]) -> None:
    """A run's section `val` is what its last weights and the raw text give."""
    said = json.loads((run_dir / "result.json").read_text())["val"]
    checkpoint = Checkpoint(run_dir / "checkpoints" / said["checkpoint"])
    nats, tokens = (np.array(column) for column in zip(*map(checkpoint.nats, documents), strict=True))
    sizes = np.array([len(text.encode()) for text in documents])
    assert (said["documents"], said["tokens"], said["bytes"]) == (len(documents), tokens.sum(), sizes.sum())
    assert said["loss"] == pytest.approx(nats.sum() / tokens.sum(), rel=2e-6)
    assert said["perplexity"] == pytest.approx(math.exp(nats.sum() / tokens.sum()), rel=2e-5)
    bits = nats / math.log(2)
    assert said["bits_per_byte"] == pytest.approx(bits.sum() / sizes.sum(), rel=2e-6)
    # a linear regression through the origin, weighed so that its slope is the ratio: its HC3 error is the interval's
    slope, share, n = bits.sum() / sizes.sum(), sizes / sizes.sum(), len(sizes)
    pulled = (bits - slope * sizes) / (1 - share)
    error = math.sqrt((n - 1) / n * (pulled**2).sum()) / sizes.sum()
    reach = stats.t.ppf(0.975, sizes.sum() ** 2 / (sizes**2).sum() - 1) * error
    assert said["bits_per_byte_interval"] == pytest.approx([slope - reach, slope + reach], rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("compared", [VARIANTS[1::-1], VARIANTS], ids=",".join)
def test_variants_of_the_older_block_and_the_report_of_their_sweep(cli: CommandLine, compared: tuple[str, ...]):
    documents = write_text(Path("text"))
    sweep = cli("-m", *COMMON, "hydra/launcher=basic", "hydra.sweep.dir=sweep", "block=gpt2", "optimizer=adamw",
                f"model={','.join(compared)}", "seed=1,2", "batch.micro=1")  # fmt: skip
    assert sweep.code == 0, sweep.err
    losses: dict[str, list[float]] = {}
    for run_dir in sorted(Path("sweep").glob("[0-9]*"), key=lambda path: int(path.name)):
        assert_same_scores(run_dir, documents)
        result = json.loads((run_dir / "result.json").read_text())
        losses.setdefault(result["variant"], []).append(result["val"]["loss"])
    rows = {}
    for line in Path("sweep/results.md").read_text().splitlines():
        cells = [cell.strip().strip("*") for cell in line.strip("| ").split("|")]
        if cells[0] in compared:
            rows.setdefault(cells[0], cells)
    assert list(rows) == sorted(compared, key=lambda variant: np.mean(losses[variant]))
    for variant, cells in rows.items():
        own = np.array(losses[variant])
        half = stats.t.ppf(0.975, 1) * own.std(ddof=1) / math.sqrt(2)
        assert cells[1] == f"{own.mean():.4f} ± {half:.4f}"
        if variant != "gpt":
            gaps = own - np.array(losses["gpt"])
            half = stats.t.ppf(0.975, 1) * gaps.std(ddof=1) / math.sqrt(2)
            shown = [float(number) for number in re.findall(r"[-+]?\d+\.\d+", cells[2])]
            assert shown == pytest.approx([gaps.mean(), gaps.mean() - half, gaps.mean() + half], abs=6e-5)


@pytest.mark.parametrize(
    "words",
    [
        ("model=gpt", "block=modern", "optimizer=muon", "batch.micro=2"),
        *[
            pytest.param(
                (f"model={variant}", "block=modern", "optimizer=muon", "batch.micro=2"), marks=pytest.mark.slow
            )
            for variant in VARIANTS[1:]
        ],
        ("model=convgpt", "model.kernel_size=3", "block=gpt2", "optimizer=adamw", "batch.micro=4"),
        pytest.param(
            ("model=gpt", "block=modern", "optimizer=muon", "trainer=ddp", "trainer.accelerator=cpu", "batch.micro=1"),
            marks=pytest.mark.slow,
        ),
    ],
    ids=lambda words: " ".join(words),
)
def test_other_blocks_micro_batches_and_processes(cli: CommandLine, words: tuple[str, ...]):
    documents = write_text(Path("text"))
    done = cli(*COMMON, *words, "hydra.run.dir=run")
    assert done.code == 0, done.err
    assert_same_scores(Path("run"), documents)
