"""Runs the library's own tests of a language model on our variants: python tests/models/library_suite.py [variant ...]

They are the mixins of the installed version of transformers, which lie in its source distribution: pip downloads it
once into a cache, and they are read from there. It lacks the mixins of generation and of export; TRANSFORMERS_TESTS
names the folder `tests` of a checkout near that version that has them.
"""

import io
import json
import os
import subprocess
import sys
import tarfile
import unittest
import warnings
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import ANY

CACHE = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "smallgpt-tests"
SIZE = {"n_layer": 2, "n_head": 2, "n_embd": 32, "block_size": 512, "vocab_size": 99, "allow_narrow": True}
EVERY_BLOCK = {"downsample_position": 1, "downsample_frequency": 1}
CHANGES = {
    "bowtie": {"n_layer": 3},  # of fewer there is none
    "canon_bowtie": {"n_layer": 3},
    "convgpt": EVERY_BLOCK,
    "lineargpt": EVERY_BLOCK,
}
ELSEWHERE = (("exporters.test_export", "ExportTesterMixin"), ("generation.test_utils", "GenerationTesterMixin"))


class Missing(Exception):
    """Says why the library's tests cannot be had."""


def pip(*words: str) -> None:
    """Calls pip. Raises Missing where it fails."""
    done = subprocess.run([sys.executable, "-m", "pip", *words], capture_output=True, text=True)
    if done.returncode:
        raise Missing((done.stderr.strip() or "pip failed").splitlines()[-1])


def distribution() -> Path:
    """Folder `tests` of the source distribution of the installed transformers, downloaded where it is not yet here."""
    name = f"transformers-{version('transformers')}"
    if not (CACHE / name / "tests").is_dir():
        source_only = ("--no-deps", "--no-binary", ":all:", "--no-build-isolation")
        pip("download", "--quiet", *source_only, "--dest", str(CACHE), name.replace("-", "==", 1))
        with tarfile.open(CACHE / f"{name}.tar.gz") as archive:
            tests = [member for member in archive.getmembers() if member.name.startswith(f"{name}/tests/")]
            archive.extractall(CACHE, tests, filter="data")
    return CACHE / name / "tests"


def read_mixins() -> tuple[type, ...]:
    """Makes the library's tests importable as `tests` and returns the mixins.

    Raises:
        Missing: there is neither a download nor a network.
    """
    try:
        import_module("parameterized")
    except ImportError:
        if not (CACHE / "packages").is_dir():
            pip("install", "--quiet", "--no-deps", "--target", str(CACHE / "packages"), "parameterized")
        sys.path.append(str(CACHE / "packages"))
    folders, checkout = [str(distribution())], os.environ.get("TRANSFORMERS_TESTS")
    if checkout:
        folders.append(checkout)  # behind: what the distribution has is of the installed version
    add_module("tests").__path__ = folders
    if not checkout:
        for name, mixin in ELSEWHERE:
            add_module(f"tests.{name.partition('.')[0]}").__path__ = []
            setattr(add_module(f"tests.{name}"), mixin, type(mixin, (), {}))
    common: Any = import_module("tests.test_modeling_common")
    return common.ModelTesterMixin, common.GenerationTesterMixin


def add_module(name: str) -> ModuleType:
    """Adds an empty module to those that are imported already."""
    sys.modules[name] = ModuleType(name)
    return sys.modules[name]


def suite_of(variant: str, block: str) -> type[unittest.TestCase]:
    """Makes the test class of a variant, as each model of the library has one; `library` stands for its own GPT-2."""
    mixins = read_mixins()
    from helpers import Case, build_config, model_class
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_MAPPING, GPT2Config
    from transformers.testing_utils import _TEXT_MODEL_TESTER_DEFAULTS

    def config_of_model(**ends: int) -> Any:
        if variant == "library":
            return GPT2Config(n_layer=2, n_head=2, n_embd=32, vocab_size=99, n_positions=512, **ends)
        return build_config(Case(variant, block, SIZE | CHANGES.get(variant, {})), **ends)

    config_class = type(config_of_model())
    head = MODEL_FOR_CAUSAL_LM_MAPPING[config_class] if variant == "library" else model_class(variant)

    # as the library's own models are there; its tests choose by name which class gets labels
    auto: Any = import_module("transformers.models.auto.modeling_auto")
    base = MODEL_MAPPING.get(config_class, None)
    auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[config_class.model_type] = head.__name__
    if base is not None:
        auto.MODEL_MAPPING_NAMES[config_class.model_type] = base.__name__

    class Tester:
        """What the library's tests ask for: the classes, a small config and inputs."""

        causal_lm_class, base_model_class = head, base

        def __init__(self) -> None:
            for key, value in _TEXT_MODEL_TESTER_DEFAULTS.items():
                setattr(self, key, value)
            self.num_hidden_layers = config_of_model().num_hidden_layers

        def get_config(self) -> Any:
            return config_of_model(
                **{key: getattr(self, key) for key in ("pad_token_id", "bos_token_id", "eos_token_id")}
            )

        def prepare_config_and_inputs_for_common(self) -> tuple[Any, dict[str, Any]]:
            common: Any = sys.modules["tests.test_modeling_common"]
            ids = common.ids_tensor([self.batch_size, self.seq_length], self.vocab_size)
            return self.get_config(), {"input_ids": ids, "attention_mask": ids.new_ones(ids.shape).tril()}

    def check_states(self: Any, batch_size: int, hidden_states: Any, *others: Any, **options: Any) -> None:
        """Lets the mixin check all but the width, which is that of a layer."""
        width = config_of_model().hidden_size
        widened = tuple(tuple(x.new_empty(*x.shape[:-1], width) for x in step) for step in hidden_states)
        super(tests, self)._check_hidden_states_for_generate(batch_size, widened, *others, **options)

    def check_weights(self: Any, batch_size: int, attentions: Any, *others: Any, **options: Any) -> None:
        """Lets the mixin check all but the number of heads, which is that of a layer."""
        heads = [shape.n_head for shape in config_of_model().block_shapes()]
        for step in attentions:
            self.assertListEqual([x.shape[1] for x in step], heads)
        same = tuple(tuple(x.new_empty(x.shape[0], heads[0], *x.shape[2:]) for x in step) for step in attentions)
        super(tests, self)._check_attentions_for_generate(batch_size, same, *others, **options)

    members = {
        # widths, and with them heads, differ from layer to layer
        "_get_attention_shape": lambda self, batch_size, length, config: (
            (batch_size, ANY, ANY) if length is None else (batch_size, ANY, length, ANY)
        ),
        "_get_conv_state_shape": lambda self, batch_size, config: (batch_size, ANY, ANY),
        "setUp": lambda self: setattr(self, "model_tester", Tester()),
        "all_model_classes": tuple(filter(None, (base, head))),
    }
    if variant != "library":
        members |= {
            "_check_hidden_states_for_generate": check_states,
            "_check_attentions_for_generate": check_weights,
        }
    tests = type(f"{head.__name__}ModelTest", (*mixins, unittest.TestCase), members)
    return tests


class Outcomes(unittest.TextTestResult):
    """Outcomes by test; what pytest calls a skip is one."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.passed: list[str] = []
        self.reasons: dict[str, str] = {}

    def addSuccess(self, test: Any) -> None:
        self.passed.append(test._testMethodName)

    def addFailure(self, test: Any, error: Any) -> None:
        super().addFailure(test, error)
        self.explain(test, error)

    def addError(self, test: Any, error: Any) -> None:
        if error[0].__name__ == "Skipped":
            self.addSkip(test, str(error[1]))
            return
        super().addError(test, error)
        self.explain(test, error)

    def addSubTest(self, test: Any, subtest: Any, error: Any) -> None:
        super().addSubTest(test, subtest, error)
        if error is not None:
            self.explain(test, error)

    def explain(self, test: Any, error: Any) -> None:
        """Keeps the first lines of what a test said when it failed."""
        lines = f"{error[0].__name__}: {error[1]}".strip().splitlines()
        self.reasons[test._testMethodName] = " ".join(lines[:3])[:300]


def run_suite(tests: type[unittest.TestCase], only: str = "") -> dict[str, Any]:
    """Runs a test class, or the tests whose name contains `only`, and counts what came out."""
    names = [name for name in unittest.TestLoader().getTestCaseNames(tests) if only in name]
    runner = unittest.TextTestRunner(sys.stderr if only else io.StringIO(), resultclass=Outcomes, verbosity=0)
    outcome: Any = runner.run(unittest.TestSuite(tests(name) for name in names))
    return {"passed": len(outcome.passed), "skipped": len(outcome.skipped), "failed": outcome.reasons}


def main(words: list[str]) -> None:
    """Prints the counts, and the tests that failed: of the variants named, or of all with both blocks.

    A word such as `gpt-modern` names a variant and its block, and `library` the library's own GPT-2. `only=NAME` runs
    the tests whose name contains it and prints all they say; `json=true` prints a JSON line.
    """
    from helpers import VARIANTS

    options = dict(word.split("=", 1) for word in words if "=" in word)
    chosen = [word for word in words if "=" not in word]
    for name in chosen or [f"{variant}-{block}" for variant in VARIANTS for block in ("gpt2", "modern")]:
        variant, _, block = name.partition("-")
        counts = run_suite(suite_of(variant, block or "gpt2"), options.get("only", ""))
        if "json" in options:
            print(json.dumps(counts))
            continue
        failed = counts["failed"]
        print(f"{name}: {counts['passed']} passed, {len(failed)} failed, {counts['skipped']} skipped", flush=True)
        for test, reason in failed.items():
            print(f"    {test}: {reason}", flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    warnings.simplefilter("ignore")
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "TRANSFORMERS_VERBOSITY": "error"}
    main(sys.argv[1:])
