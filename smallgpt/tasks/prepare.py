"""`task=prepare` turns text into tokens; runs with the same corpus and tokenizer then start without waiting."""

from pathlib import Path
from typing import Any

from smallgpt.settings import Settings


def run(settings: Settings, run_dir: Path) -> dict[str, Any]:
    """Prints what was prepared and returns the sections `data` and `data_fingerprint`."""
    from smallgpt.data.prepare import prepare
    from smallgpt.reporting.tables import print_pairs

    prepared = prepare(settings.data, settings.tokenizer, settings.cache_dir)
    section, warnings = prepared.section(), prepared.warnings()
    print_pairs("data", {name.replace("_", " "): value for name, value in section.items()})
    for warning in warnings:
        print(f"warning: {warning}")
    return {"data_fingerprint": prepared.fingerprint, "data": section, "warnings": warnings}
