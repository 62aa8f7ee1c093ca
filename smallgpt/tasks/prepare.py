"""`task=prepare` turns text into tokens; runs with the same corpus and tokenizer then start without waiting.

With `prepare.shards=` the jobs of a sweep, on any number of machines, each encode a share of the text, and the last of
them to end writes the prepared data: the same bytes as one job would.
"""

from pathlib import Path
from typing import Any

from smallgpt.errors import UserError
from smallgpt.settings import Settings


def run(settings: Settings, run_dir: Path) -> dict[str, Any]:
    """Prints what was prepared and returns the sections `data` and `data_fingerprint`; of a shard, how far all are."""
    from smallgpt.data.prepare import prepare, prepare_shard
    from smallgpt.reporting.tables import print_pairs

    words = settings.data, settings.tokenizer, settings.cache_dir
    if settings.prepare and settings.prepare.shard is not None and settings.prepare.shards is not None:
        fingerprint, encoded, segments = prepare_shard(*words, settings.prepare.shard, settings.prepare.shards)
        if encoded < segments:
            section = {"number": settings.prepare.shard, "encoded_segments": encoded, "segments": segments}
            print_pairs("shard", {name.replace("_", " "): value for name, value in section.items()})
            return {"data_fingerprint": fingerprint, "shard": section}
    prepared = prepare(*words)
    section, warnings = prepared.section(), prepared.warnings()
    print_pairs("data", {name.replace("_", " "): value for name, value in section.items()})
    for warning in warnings:
        print(f"warning: {warning}")
    return {"data_fingerprint": prepared.fingerprint, "data": section, "warnings": warnings}


def check_shards(settings: Settings) -> None:
    """Raises UserError for more shards than the corpus can be shared out to, before it is read."""
    from smallgpt.data.shards import number_of_segments

    shards = settings.prepare.shards if settings.prepare else None
    if shards is not None and shards > (most := number_of_segments(settings.data)):
        reason = (
            "is read in one go, as a stream from the hub, one compressed file or a little text is; leave it out"
            if most == 1
            else f"can be shared by at most {most} jobs; one reads a file that is compressed, Parquet or a table"
        )
        raise UserError(f"prepare.shards={shards}: data={settings.data.name} {reason}")
