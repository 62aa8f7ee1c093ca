"""What is done to the files that a hostile command line names: cut, edited, replaced, or given code to run."""

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

Damage = Callable[[Path], None]


class Planted:
    """Pickle that would run a command, and so leave a file, where somebody opens it."""

    def __reduce__(self) -> Any:
        return os.system, (f"touch {os.environ.get('HOSTILE_MARK', '/dev/null')}",)


def cut(path: str, size: int = 100) -> Damage:
    return lambda folder: os.truncate(folder / path, size)


def write(path: str, content: str | bytes) -> Damage:
    def damage(folder: Path) -> None:
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content if isinstance(content, bytes) else content.encode())

    return damage


def noise(path: str) -> Damage:
    return write(path, bytes((i * 167 + 89) % 256 for i in range(4096)))


def remove(path: str) -> Damage:
    def damage(folder: Path) -> None:
        shutil.rmtree(folder / path) if (folder / path).is_dir() else (folder / path).unlink()

    return damage


def a_pickle(path: str) -> Damage:
    return lambda folder: (folder / path).write_bytes(pickle.dumps(Planted()))


def a_torch_pickle(path: str) -> Damage:
    return lambda folder: torch.save({"state_dict": Planted()}, folder / path)


def edited(path: str, **changes: Any) -> Damage:
    """A JSON file with other values; a name with `__` goes into a section."""

    def damage(folder: Path) -> None:
        record = json.loads((folder / path).read_text())
        for name, value in changes.items():
            *sections, last = name.split("__")
            place = record
            for section in sections:
                place = place[section]
            place[last] = value
        (folder / path).write_text(json.dumps(record))

    return damage


def weights(path: str, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> Damage:
    def damage(folder: Path) -> None:
        file = folder / path
        save_file(change(load_file(file)), file, metadata={"format": "pt"})

    return damage


def filled(value: float) -> Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]:
    return lambda all_of_them: {
        name: torch.full_like(tensor, value) if number == 0 else tensor
        for number, (name, tensor) in enumerate(sorted(all_of_them.items()))
    }


def without_first(all_of_them: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return dict(sorted(all_of_them.items())[1:])


def wider(all_of_them: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: torch.cat([tensor, tensor]) for name, tensor in all_of_them.items()}


def renamed(all_of_them: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"other.{name}": tensor for name, tensor in all_of_them.items()}


def state(change: Callable[[dict[str, Any]], Any]) -> Damage:
    """A changed last.ckpt."""

    def damage(folder: Path) -> None:
        path = folder / "run/checkpoints/last.ckpt"
        torch.save(change(torch.load(path, weights_only=True)), path)

    return damage


def in_the_state(change: Callable[[torch.Tensor], torch.Tensor]) -> Damage:
    def changed(saved: dict[str, Any]) -> dict[str, Any]:
        name = next(iter(saved["state_dict"]))
        return {**saved, "state_dict": {**saved["state_dict"], name: change(saved["state_dict"][name])}}

    return state(changed)


def interrupted(folder: Path) -> None:
    """A run that was cut off, as resume=auto finds it."""
    edited("run/result.json", status="interrupted")(folder)


def both(*damages: Damage) -> Damage:
    def damage(folder: Path) -> None:
        for each in damages:
            each(folder)

    return damage


def sharded(name: str) -> Damage:
    """Weights with an index that names a file."""

    def damage(folder: Path) -> None:
        best = folder / "run/checkpoints/best"
        names = load_file(best / "model.safetensors")
        (best / "model.safetensors").rename(folder / "run/checkpoints/elsewhere.safetensors")
        index = {"metadata": {}, "weight_map": dict.fromkeys(names, name)}
        (best / "model.safetensors.index.json").write_text(json.dumps(index))

    return damage


def brings_code(path: str) -> Damage:
    """A model folder whose config asks for code that lies with it."""

    def damage(folder: Path) -> None:
        mark = "import os\nos.system('touch ' + os.environ['HOSTILE_MARK'])\n"
        (folder / path / "code.py").write_text(mark + "class C: pass\nclass T: pass\n")
        edited(
            f"{path}/config.json",
            model_type="unheard-of",
            auto_map={"AutoConfig": "code.C", "AutoModelForCausalLM": "code.C"},
        )(folder)

    return damage


def tokenizer_with_code(folder: Path) -> None:
    (folder / "tok").mkdir()
    shutil.copy(folder / "run/checkpoints/best/tokenizer.json", folder / "tok/vocab.txt")
    (folder / "tok/code.py").write_text("import os\nos.system('touch ' + os.environ['HOSTILE_MARK'])\nclass T: pass\n")
    config = {"tokenizer_class": "T", "auto_map": {"AutoTokenizer": ["code.T", None]}}
    (folder / "tok/tokenizer_config.json").write_text(json.dumps(config))
    (folder / "tok/config.json").write_text(json.dumps({"model_type": "unheard-of", **config}))


# -- the cases -------------------------------------------------------------------------------------------------------
