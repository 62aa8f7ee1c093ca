"""What generating costs: exact where it is arithmetic, complete where it is measured. No time is asserted."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import SMALL, Case, build_model
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from smallgpt.errors import UserError
from smallgpt.inference.batched_paths import BatchedPaths
from smallgpt.inference.weight_formats import for_inference, weight_bytes
from smallgpt.launch.config_files import CONF
from smallgpt.launch.loading import load_settings
from smallgpt.machine.memory import PeakMemory, peak_memory
from smallgpt.machine.rates import Machine, copy_bandwidth
from smallgpt.models.cost import cost
from smallgpt.settings import Benchmark
from smallgpt.speed.benchmark import fitted, in_turn, measure_models
from smallgpt.speed.measured_models import MeasuredModel
from smallgpt.speed.roofline import Work, demand, read_bytes
from smallgpt.speed.time_breakdown import PARTS
from smallgpt.tasks.benchmark import beside, of_config

CPU = torch.device("cpu")
ASKED = Benchmark(prompts=(4, None), batches=(1, 3), new_tokens=5, rounds=2)
CASES = [
    Case("gpt"),
    Case("gpt", "modern"),
    Case("lineargpt"),
    Case("convgpt", "gpt2", {"kernel_size": 3}),
    Case("parallelgpt"),
    Case("parallelgpt", "gpt2", {"active_paths": [1]}),
]


def foreign() -> GPT2LMHeadModel:
    size = {"vocab_size": 96, "n_positions": 32, "n_embd": 64, "n_layer": 2, "n_head": 2}
    return GPT2LMHeadModel(GPT2Config(**size, bos_token_id=0, eos_token_id=0)).eval()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_token_reads_every_weight_that_runs_and_a_row_of_each_table(case: Case) -> None:
    model = build_model(case)
    lookups = ("transformer.wte.weight", "transformer.wpe.weight")
    tables = {name: p for name, p in model.named_parameters() if name in lookups}
    dropped = (".paths.0.", ".inputs.0.") if case.changes.get("active_paths") else ("nothing",)
    weights = {
        name: p
        for name, p in model.named_parameters(remove_duplicate=False)
        if name not in tables and not any(part in name for part in dropped)
    }
    rows = {name: p[0] for name, p in tables.items() if p is not model.lm_head.weight}
    expected = 4 * sum(p.numel() for p in (*weights.values(), *rows.values()))
    assert read_bytes(model) == expected
    packed = for_inference(model)  # a head tied to the embedding has a matrix of its own now
    expected += 4 * model.config.n_embd * model.config.tie_word_embeddings
    together = isinstance(model.transformer.backbone, BatchedPaths)  # the share of the last path is stored, too
    assert together == (str(case) == "parallelgpt-gpt2")
    assert read_bytes(packed) == expected + 4 * together


@pytest.mark.parametrize("quantize", ["none", "bf16", "int8_weight", "int8_dynamic"])
def test_in_fewer_bits_fewer_bytes_are_read(quantize: str) -> None:
    model = for_inference(build_model(Case("gpt")), quantize)
    size, v, d, t = model.dtype.itemsize, SMALL["vocab_size"], SMALL["n_embd"], SMALL["block_size"]
    assert read_bytes(model) == weight_bytes(model) - size * (v + t) * d + size * 2 * d
    products = SMALL["n_layer"] * 12 * d * d + v * d
    assert read_bytes(model) >= products * (1 if quantize.startswith("int8") else size)
    assert read_bytes(model) < 1.2 * products * (1 if quantize.startswith("int8") else size)


def test_a_tied_head_of_the_library_is_read_once() -> None:
    model = foreign()
    row = 4 * model.config.n_embd
    assert read_bytes(model) == weight_bytes(model) - model.config.n_positions * row + row


@pytest.mark.parametrize("case", CASES, ids=str)
def test_flops_and_cache_add_up_over_the_tokens(case: Case) -> None:
    model = build_model(case)
    config = model.config
    parts = [part for part in config.layout() if part.active]

    def flops_with(keys: int) -> int:
        return sum(part.flops + 4 * part.attention_width * keys for part in parts)

    prompt, new, batch = 7, 6, 3
    reading = demand(model, Work("prefill", prompt, 1), 1000)
    heads = (prompt - 1) * parts[-1].flops
    assert reading.flops == sum(flops_with(keys) for keys in range(1, prompt + 1)) - heads
    steps = range(prompt + 1, prompt + new)
    making = demand(model, Work("decode", prompt, new, batch), 1000)
    assert making.flops == batch * sum(flops_with(keys) for keys in steps) / len(steps)
    kept = sum(4 * part.cache_elements for part in parts), sum(4 * part.state_elements for part in parts)
    assert making.bytes == 1000 + batch * (kept[0] * sum(steps) / len(steps) + kept[1])


def test_every_round_takes_the_models_in_turn() -> None:
    works = [Work("prefill", 4, 1), Work("decode", 4, 5, 2)]
    calls: list[tuple[str, str]] = []

    def seconds(subject: str, work: Work) -> float:
        calls.append((subject, work.kind))
        return float(len(calls))

    times = in_turn(["a", "b"], works, 2, seconds)
    once = [("a", "prefill"), ("b", "prefill"), ("a", "decode"), ("b", "decode")]
    assert calls == once + once
    assert times == [{works[0]: [1, 5], works[1]: [3, 7]}, {works[0]: [2, 6], works[1]: [4, 8]}]


def test_the_section_is_whole() -> None:
    baseline, other = (
        MeasuredModel("gpt", build_model(Case("gpt"))),
        MeasuredModel("l", build_model(Case("lineargpt")), "bf16"),
    )
    works, lines = fitted(ASKED, SMALL["block_size"])
    assert not lines
    first, second = measure_models([baseline, other], ASKED, works, Machine(CPU, 1, copy_bandwidth(CPU, 2**22)))
    json.dumps([first, second], allow_nan=False)
    assert first["speed_up"] is None and second["speed_up"]["over"] == "gpt"
    for section in (first, second):
        assert set(section["prefill"]) == {"4", "32"} and set(section["decode"]) == {"1", "3"}
        assert section["seconds_per_token"] == section["decode"]["1"]["seconds_per_token"]["median"] > 0
        assert section["tokens_per_second"] == pytest.approx(1 / section["seconds_per_token"])
        assert section["time_to_first_token"] == section["prefill"]["4"]["time_to_first_token"]["median"] > 0
        for part in (*section["prefill"].values(), *section["decode"].values()):
            time = part.get("time_to_first_token") or part["seconds_per_token"]
            assert 0 < time["min"] <= time["median"] <= time["max"]
        used = [*section["utilisation"]["bandwidth"].values(), *section["utilisation"]["matrix_rate"].values()]
        assert len(used) == 4 and all(share > 0 for share in used)
        assert list(section["breakdown"]) == list(PARTS)
        assert sum(part["share"] for part in section["breakdown"].values()) == pytest.approx(1)
        assert all(part["seconds"] > 0 for part in section["breakdown"].values())
    assert (second["quantize"], second["dtype"], second["device"], second["threads"]) == ("bf16", "bfloat16", "cpu", 1)
    prices = [cost(subject.model.config, 2 * 4 + 5 - 1, 4) for subject in (baseline, other)]
    promised = second["speed_up"]["decode"]["1"]
    assert promised["flops"] == prices[0].inference_flops_per_token / prices[1].inference_flops_per_token
    read = [
        each.read_bytes + price.cache_bytes_per_token * (4 + 5 / 2) * size
        for each, price, size in ((baseline, prices[0], 1), (other, prices[1], 0.5))
    ]
    assert promised["bytes"] == pytest.approx(read[0] / read[1])


@pytest.mark.parametrize("model", [build_model(Case("gpt")), foreign()], ids=["ours", "the library's"])
def test_no_token_ends_it_early(model: Any) -> None:
    model.generation_config.eos_token_id = list(range(96))
    times = MeasuredModel("model", model).token_times(Work("decode", 4, 6, 2))
    assert len(times) == 6 and times == sorted(times)


def test_sizes_fit_the_context() -> None:
    works, lines = fitted(Benchmark(), 32)
    assert [work.prompt for work in works] == [32, 16, 16, 16] and len(lines) == 3
    assert all(work.prompt + work.new_tokens <= 33 for work in works)
    long = Benchmark(prompts=(40,), new_tokens=8)
    assert [work.prompt for work in fitted(long, 32)[0]] == [32, 24, 24, 24]
    for asked, chosen in (
        (long, {"benchmark.prompts"}),
        (Benchmark(new_tokens=32), {"benchmark.new_tokens"}),
        (Benchmark(prompts=(20,), new_tokens=20), {"benchmark.prompts", "benchmark.new_tokens"}),
    ):
        with pytest.raises(UserError, match=r"^benchmark\.[a-z_]+=\d+: [^\n]+$"):
            fitted(asked, 32, chosen)


def test_memory_is_the_growth_while_it_works() -> None:
    size = 64 * 2**20
    peak = peak_memory(lambda: torch.ones(size, dtype=torch.uint8), CPU)
    assert peak.growth is None or 0.9 * size < peak.growth < 1.5 * size
    assert peak.process is None or peak.process > size + 50e6, "Python and PyTorch lie in memory too"


def test_a_system_without_proc_measures_all_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smallgpt.machine.memory.PROCESS", tmp_path / "nothing")
    done: list[bool] = []
    assert peak_memory(lambda: done.append(True), CPU) == PeakMemory(None, None) and done == [True]
    works = [Work("prefill", 4, 1), Work("decode", 4, 3)]
    (section,) = measure_models([MeasuredModel("gpt", build_model(Case("gpt")))], ASKED, works, Machine(CPU, 1, 1e9))
    assert section["peak_memory_bytes"] is section["process_memory_bytes"] is None and section["seconds_per_token"] > 0


# -- the task --------------------------------------------------------------------------------------------------------

OF_A_CHECKPOINT = (
    *("task=benchmark", "trainer.threads=1", "benchmark.rounds=1"),
    *("benchmark.prompts=[4]", "benchmark.batches=[1]", "benchmark.new_tokens=4"),
)
QUICK = (*OF_A_CHECKPOINT, "size=debug", "tokenizer.vocab_size=300")


def save(folder: Path, model: Any) -> None:
    model.save_pretrained(folder)
    words = Tokenizer(WordLevel({"a": 0, "b": 1}, unk_token="a"))
    PreTrainedTokenizerFast(tokenizer_object=words, eos_token="a").save_pretrained(folder)


def test_checkpoints_are_compared_and_their_runs_keep_the_rest(cli: Any, tmp_path: Path) -> None:
    save(tmp_path / "runs" / "mine" / "checkpoints" / "best", build_model(Case("gpt")))
    before = {"task": "train", "status": "completed", "val": {"loss": 2.0}, "evaluation": {"tasks": {"x": 1}}}
    result = tmp_path / "runs" / "mine" / "result.json"
    result.write_text(json.dumps(before))
    save(tmp_path / "runs" / "theirs", foreign())
    outcome = cli(*OF_A_CHECKPOINT, "checkpoint=[runs/mine,runs/theirs]")
    assert outcome.code == 0, outcome.err
    sections = outcome.result["inferences"]
    assert set(sections) == {"mine", "theirs"}
    mine, theirs = sections["mine"], sections["theirs"]
    assert json.loads(result.read_text()) == {**before, "inference": mine}
    assert theirs["cache_bytes_per_token"] is None and theirs["utilisation"]["bandwidth"] == {"1": None}
    gain = theirs["speed_up"]["decode"]["1"]
    assert gain["flops"] is gain["bytes"] is None and gain["measured"]["median"] > 0


@pytest.mark.slow
def test_a_config_is_measured_with_its_baseline_which_is_measured_alone(cli: Any) -> None:
    result = cli(*QUICK, "model=lineargpt", "quantize=int8_dynamic").result
    assert result["inference"]["speed_up"]["over"] == "gpt" and result["inference"]["quantize"] == "int8_dynamic"
    assert result["inference_of_baseline"]["quantize"] == "none"
    assert result["cost"]["parameters"] > 0
    alone = cli(*QUICK, "model=gpt", "benchmark.profile=false").result
    assert alone["inference"]["speed_up"] is None and alone["inference"]["breakdown"] is None
    assert "inference_of_baseline" not in alone
    baseline = alone["inference"]["weight_bytes"]
    assert baseline == result["inference_of_baseline"]["weight_bytes"] > 2 * result["inference"]["weight_bytes"]


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("checkpoint=nothing/at/all", "no such folder"),
        ("benchmark.batches=[]", "at least one"),
        ("benchmark.batches=[1,0]", "over 0"),
        ("benchmark.rounds=0", "over 0"),
        ("benchmark.new_tokens=64", "use at most 63"),
        ("benchmark.to=gpd", "did you mean 'gpt'?"),
        ("quantize=int4", "int8_dynamic"),
    ],
)
def test_what_cannot_be_measured_is_refused(cli: Any, word: str, says: str) -> None:
    key = word.partition("=")[0]
    words = OF_A_CHECKPOINT if key == "checkpoint" else QUICK
    message = cli.refused(*[given for given in words if not given.startswith(f"{key}=")], word)
    assert message.startswith(key) and says in message


def test_a_run_keeps_each_kind_beside_what_it_trained() -> None:
    plain, found = {"kind": "none", "x": 1}, {}
    others = {kind: {"kind": kind} for kind in ("bf16", "onnx", "onnx int4", "int8_weight compiled")}
    for section in (others["bf16"], plain, *others.values(), others["bf16"]):
        found = beside(found, section)
    assert found == {**plain, "kinds": others}
    assert beside({}, plain) == plain


def test_jobs_side_by_side_are_refused(cli: Any) -> None:
    message = cli.refused("-m", *QUICK, "model=gpt,lineargpt", "hydra.launcher.n_jobs=2")
    assert message.startswith("hydra.launcher.n_jobs=2")


def test_the_baseline_has_the_size_before_matching() -> None:
    words = [*QUICK, "model=lineargpt", "match=params", "match.tolerance=0.2"]
    with initialize_config_dir(str(CONF), version_base=None):
        config = compose("config", overrides=words, return_hydra_config=True)
        HydraConfig.instance().set_config(config)
        keys = [str(key) for key in config if key != "hydra"]
        settings = load_settings(OmegaConf.masked_copy(config, keys), words, "lineargpt")
    HydraConfig.instance().cfg = None
    baseline, own = of_config(settings, torch.device("cpu"))
    assert (baseline.name, baseline.model.config.n_embd) == ("gpt", 64)
    assert own.model.config.n_embd == settings.model.n_embd != 64
