"""Settings of a run: what can be set, with types, ranges and defaults.

Every group of the config is a `Group`. Groups that a user chooses from (data, tokenizer, optimizer, schedule, logger)
name their own class with `_target_`; the model names a model class, whose config class says what can be set.
`smallgpt.launch.loading` turns a composed config into `Settings`.
"""

from smallgpt.settings.finetuning import FineTuning
from smallgpt.settings.group import Group, one_or_several
from smallgpt.settings.inference import Benchmark, Evaluation, Generation
from smallgpt.settings.preparation import Preparation
from smallgpt.settings.proof_of_concept import ProofOfConcept
from smallgpt.settings.run import Common, Settings
from smallgpt.settings.training import Batch, Budget, Distill, Latency, Match, Trainer, Validation

__all__ = [
    "Batch",
    "Benchmark",
    "Budget",
    "Common",
    "Distill",
    "Evaluation",
    "FineTuning",
    "Generation",
    "Group",
    "Latency",
    "Match",
    "Preparation",
    "ProofOfConcept",
    "Settings",
    "Trainer",
    "Validation",
    "one_or_several",
]
