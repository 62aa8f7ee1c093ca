"""How fast text becomes tokens: tiktoken alone against our preparation.

    python -m benchmarks.tokenize [--path FILE_OR_FOLDER] [--vocab-size N] [--rounds N]

`raw` encodes documents that are in memory, nothing else. The preparations read the text, split
and encode it, and write the token files; learning the vocabulary is left out of all three. They
run in turn, so that a change of the machine's mood hits all of them.
"""

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from smallgpt.data.corpora import Corpus, StandardLibrary
from smallgpt.data.duplicates import EVERYTHING
from smallgpt.data.encoding import TiktokenEncoder, build_encoder
from smallgpt.data.files import Files
from smallgpt.data.pipeline import PartEncoder, in_parallel
from smallgpt.data.prepared_data import token_type
from smallgpt.data.token_files import write_tokens
from smallgpt.data.tokenizers import SAMPLE_CHARACTERS, TrainedBPE


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def compare(corpus: Corpus, vocab_size: int, rounds: int) -> None:
    texts = [*corpus.documents("train"), *corpus.documents("validation")]
    size = sum(len(text.encode()) for text in texts)
    tokenizer = TrainedBPE(vocab_size=vocab_size).build(corpus.sample(SAMPLE_CHARACTERS, EVERYTHING))
    encoder = build_encoder(tokenizer)
    assert isinstance(encoder, TiktokenEncoder)
    encode = PartEncoder(encoder, tokenizer.eos_token_id, token_type(len(tokenizer)))

    def raw() -> None:
        for text in texts:
            encoder.encoding.encode_ordinary(text)

    def preparation(workers: int) -> None:
        folder = Path(tempfile.mkdtemp())
        write_tokens(corpus, encode, in_parallel(encode, corpus.parts(), workers), folder, progress=False)
        shutil.rmtree(folder)

    cases: dict[str, Callable[[], object]] = {
        "raw": raw,
        "1 worker": lambda: preparation(1),
        "2 workers": lambda: preparation(2),
    }
    times: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, call in cases.items():
            times[name].append(seconds(call))
    print(f"{corpus.name}: {size / 1e6:.1f} MB, {len(tokenizer)} tokens, {rounds} rounds")
    for name, taken in times.items():
        show(f"{name}, MB/s", [size / 1e6 / each for each in taken])
    for above, below in (("1 worker", "raw"), ("2 workers", "1 worker")):
        pairs = zip(times[above], times[below], strict=True)
        show(f"{above} / {below}", [other / each for each, other in pairs])


def show(name: str, values: list[float]) -> None:
    print(f"{name:22} {median(values):6.2f}  [{min(values):.2f} .. {max(values):.2f}]")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--path", help="a file or folder (default: the standard library)")
    parser.add_argument("--vocab-size", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    corpus = Files(path=args.path) if args.path else StandardLibrary()
    compare(corpus, args.vocab_size, args.rounds)


if __name__ == "__main__":
    main()
