"""Defaults stand in one place: the YAML files show those of the classes, and a choice holds only what it is for."""

from pathlib import Path
from typing import Any

import pytest
from command_line import RUN
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from smallgpt.launch.loading import CHOSEN_GROUPS, GROUPS, load_settings
from smallgpt.models.cost import cost
from smallgpt.settings import Common, Trainer

CONF = RUN.parent / "conf"
VARIANTS = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))
MEANT = {
    "trainer.accelerator",  # trainer=cpu
    "budget.tokens",  # filled in where none of the four budgets is given
    "benchmark.baseline",  # from conf/model
    "eval.tasks",  # given below
}


def composed(*words: str) -> Any:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", list(words))


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
@pytest.mark.parametrize("schedule", ["cosine", "wsd", "constant"])
def test_the_files_show_what_the_classes_have_for_defaults(optimizer: str, schedule: str):
    config = composed(f"optimizer={optimizer}", f"schedule={schedule}", "data=files", "eval=tasks", "eval.tasks=copa")
    settings = load_settings(config)
    contradictions = {}
    for name in ("", *CHOSEN_GROUPS, *GROUPS, "eval"):
        built, shown, schema = (
            (getattr(settings, name), config[name], type(getattr(settings, name)))
            if name
            else (settings, config, Common)
        )
        for key, field in schema.model_fields.items():
            default = None if field.is_required() else field.get_default(call_default_factory=True)
            if key in shown and not field.is_required() and getattr(built, key) != default:
                contradictions[f"{name}.{key}"] = (getattr(built, key), default)
    assert set(contradictions) == MEANT, contradictions


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_with_nothing_said_is_the_papers(variant: str):
    settings = load_settings(composed(f"model={variant}", "block=gpt2", "size=paper"))
    default = type(settings.model)(allow_narrow=True)  # the paper's widths, which the classes refuse unless asked for
    differing = {key for key in type(default).settable() if getattr(settings.model, key) != getattr(default, key)}
    assert differing <= {"allow_narrow"}


@pytest.mark.parametrize("path", sorted((CONF / "trainer").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_trainer_holds_only_what_differs(path: Path):
    values = OmegaConf.load(path)
    assert values and all(value != getattr(Trainer(), str(key)) for key, value in values.items())


@pytest.mark.parametrize("path", sorted((CONF / "eval").glob("*.yaml")), ids=lambda path: path.stem)
def test_an_evaluation_holds_only_what_differs(path: Path):
    base, values = OmegaConf.load(CONF / "eval" / "tasks.yaml"), OmegaConf.load(path)
    if path.stem != "tasks":
        assert all(value != base[key] for key, value in values.items() if key != "defaults")


def test_the_paper_is_one_word_away():
    paper = load_settings(composed("experiment=paper_comparison"))
    assert (paper.model.norm, paper.model.activation, paper.model.position_encoding) == ("layernorm", "gelu", "learned")
    assert (paper.model.n_layer, paper.model.n_embd, paper.model.block_size) == (8, 512, 1024)
    assert not paper.model.tie_word_embeddings and paper.model.output_head == "direct"
    assert paper.optimizer.lr == 6e-4 and paper.optimizer.betas == (0.9, 0.95)
    assert type(paper.optimizer).__name__ == "AdamW" and type(paper.schedule).__name__ == "Cosine"
    assert load_settings(composed("experiment=paper_comparison", "size=nano")).model.n_embd == 128


def test_the_papers_recipe_is_the_paper_to_the_parameter():
    recipe = OmegaConf.load(CONF / "experiment" / "paper_comparison.yaml").hydra.sweeper.arms
    arms = [[f"{key}={value}" for key, value in arm.items()] for arm in recipe]
    models = [load_settings(composed("experiment=paper_comparison", "tokenizer=gpt2", *arm)).model for arm in arms]
    parameters = {arm[0]: cost(model).parameters for arm, model in zip(arms, models, strict=True)}
    assert parameters == {
        "model=gpt": 77_210_112,
        "model=parallelgpt": 77_735_425,
        "model=lineargpt": 36_423_936,
        "model=convgpt": 36_423_936,
    }
