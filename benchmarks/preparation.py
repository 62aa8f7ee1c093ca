"""What it costs to prepare text: CPU seconds, memory and bytes on the disk, and from them the hours of a large corpus.

    python -m benchmarks.preparation [--path FILE] [--tokenizer FOLDER] [--megabytes N] [--corpus-gigabytes N]

The documents are sentences of a text in random order, 4,700 bytes each as in FineWeb-Edu. Each case is prepared by two
workers in a process of its own. Its CPU seconds are those of the process that reads and writes, which do not shrink
with more cores, and those of the workers, which do. A crowded machine changes little about them. What the first few
documents cost is taken off, and with it the imports of each process. Beside it stands what tokenising alone costs.
"""

import argparse
import json
import multiprocessing
import random
import re
import resource
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from smallgpt.data.corpora import StandardLibrary
from smallgpt.data.corpus_parts import Split
from smallgpt.data.encoding import build_encoder
from smallgpt.data.files import Files
from smallgpt.data.prepare import prepare
from smallgpt.data.tokenizers import Pretrained, TrainedBPE
from smallgpt.machine.memory import resident

DOCUMENT_BYTES = 4700
CASES = {  # a file, and which duplicates are left out
    "JSON lines, no duplicates looked for": ("text.jsonl", "none"),
    "JSON lines, exact": ("text.jsonl", "exact"),
    "JSON lines, near": ("text.jsonl", "near"),
    "Parquet, exact": ("text.parquet", "exact"),
}
CORES = (2, 16, 64)
FEW = 500  # documents whose cost is taken off
RAW = 4000  # documents that are tokenised alone
WHO = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
SPLIT: Split = "train"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--path", help="a file or folder with the text (default: the standard library)")
    parser.add_argument("--tokenizer", help="a folder (default: a vocabulary of 4,096 that is learnt from the text)")
    parser.add_argument("--megabytes", type=int, default=300, help="size of what is prepared")
    parser.add_argument("--corpus-gigabytes", type=float, default=47, help="size of the corpus that hours are said of")
    asked = parser.parse_args()
    corpus = Files(path=asked.path) if asked.path else StandardLibrary()
    with tempfile.TemporaryDirectory() as folder:
        texts = generated(" ".join(corpus.documents(SPLIT)), asked.megabytes)
        size = sum(len(text.encode()) for text in texts[FEW:])
        with Path(folder, "text.jsonl").open("w") as file:
            file.writelines(json.dumps({"text": text}) + "\n" for text in texts)
        pq.write_table(pa.table({"text": texts}), Path(folder, "text.parquet"))
        tokenizer = asked.tokenizer or f"{folder}/tokenizer"
        if not asked.tokenizer:
            TrainedBPE(vocab_size=4096).build(texts[:2000]).save_pretrained(tokenizer)
        Path(folder, "few.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts[:FEW]))
        raw = tokenising(texts[:RAW], tokenizer)
        del texts
        print(f"{size / 1e6:.0f} MB of text; hours are those of {asked.corpus_gigabytes:g} GB")
        print(f"tokenising alone: {raw / 1e6:.1f} MB/s a core", flush=True)
        for name, case in CASES.items():
            show(name, in_a_process(Path(folder), *case, tokenizer), size, asked.corpus_gigabytes * 1e9, raw)


def generated(text: str, megabytes: int) -> list[str]:
    """Documents of sentences in random order."""
    sentences, chance = re.split(r"(?<=[.!?:])\s+", text), random.Random(0)
    documents = []
    for _ in range(megabytes * 10**6 // DOCUMENT_BYTES):
        document: list[str] = []
        length = 0
        while length < DOCUMENT_BYTES:
            document.append(chance.choice(sentences))
            length += len(document[-1]) + 1
        documents.append(" ".join(document))
    return documents


def tokenising(texts: list[str], tokenizer: str) -> float:
    """Bytes of text that the encoder takes a CPU second, with nothing else done."""
    encode = build_encoder(Pretrained(name=tokenizer).build([]))
    rates = []
    for _ in range(3):
        start = time.process_time()
        for text in texts:
            encode(text)
        rates.append(sum(len(text.encode()) for text in texts) / (time.process_time() - start))
    return statistics.median(rates)


def in_a_process(folder: Path, file: str, dedupe: str, tokenizer: str) -> dict[str, Any]:
    """What a preparation measured of itself in a process of its own, whose peak memory is that of no other case."""
    ours, theirs = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=measure, args=(folder, file, dedupe, tokenizer, theirs))
    process.start()
    found = ours.recv()
    process.join()
    return found


def measure(folder: Path, file: str, dedupe: Any, tokenizer: str, answer: Any) -> None:
    chosen = Pretrained(name=tokenizer)
    with tempfile.TemporaryDirectory() as cache:
        times = [cpu_seconds()]
        for number, name in enumerate(("few.jsonl", "few.jsonl", file)):  # the first time it imports, too
            corpus = Files(path=str(folder / name), dedupe=dedupe, holdout=0.01)
            prepared = prepare(corpus, chosen, f"{cache}/{number}", progress=False, workers=2)
            times.append(cpu_seconds())
        seconds = [(whole - few) - (few - before) for before, few, whole in zip(*times[1:], strict=True)]
        disk = sum(path.stat().st_size for path in prepared.directory.rglob("*") if path.is_file())
    tokens = prepared.train_tokens + prepared.validation_tokens
    memory = [resident("VmHWM"), 1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss]
    answer.send({"seconds": seconds, "memory": memory, "disk": disk, "tokens": tokens})


def cpu_seconds() -> list[float]:
    """CPU seconds of this process so far, and of the workers that have ended."""
    return [sum(resource.getrusage(who)[:2]) for who in WHO]


def show(name: str, found: dict[str, Any], size: int, whole: float, raw: float) -> None:
    (own, of_workers), (memory, of_worker) = found["seconds"], found["memory"]
    hours = [max(own, (own + of_workers) / cores) * whole / size / 3600 for cores in CORES]
    mb, bytes_a_token, of_disk = size / 1e6, size / found["tokens"], found["disk"] / size
    print(name)
    print(f"  CPU seconds: {own:.1f} of the writer, {of_workers:.1f} of the workers")
    pace = mb / (own + of_workers)
    print(f"  {pace:.1f} MB/s a core, {1e6 * pace / raw:.2f} of tokenising alone; at most {mb / own:.0f}, the writer's")
    print(f"  peak memory: {memory / 1e6:.0f} MB of the writer, {of_worker / 1e6:.0f} MB of a worker")
    print(f"  {bytes_a_token:.2f} bytes a token; {of_disk:.3f} bytes on the disk for each of the text")
    print(f"  hours on {CORES} cores: {[float(f'{each:.2g}') for each in hours]}", flush=True)


if __name__ == "__main__":
    main()
