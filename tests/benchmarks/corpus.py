"""How fast an export becomes a corpus on one core, and in how much memory; beside datatrove on the same files.

    OMP_NUM_THREADS=1 python tests/benchmarks/corpus.py --json
    python tests/benchmarks/corpus.py --only memory --gigabytes 2 --json

A line per figure: {bench, variant, metric, value, baseline, ratio, n, note}. Speeds are export bytes per second of process CPU
time on one thread, the median of rounds in which the variants take turns; ratios are medians of per-round ratios. The export is
generated: see `tests/benchmarks/exports.py`. It exits 1 where a figure misses its target.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from time import process_time
from typing import Any

ONE_THREAD = {"OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
os.environ.update(ONE_THREAD)
sys.path.insert(0, str(Path(__file__).parents[2]))  # started as a script, it finds its own folder only

import pyarrow as pa  # noqa: E402 - the libraries read how many threads they may have when they are imported

from appliance.corpus_building import build, group_of  # noqa: E402
from integrations.ehr_export import Export, open_export  # noqa: E402
from pretrain import shards  # noqa: E402
from pretrain.corpus import Corpus, Document, Drops, Part, Source, prepare, select  # noqa: E402
from pretrain.tokenizer import Tokenizer  # noqa: E402
from pretrain.tokenizer import train as train_tokenizer  # noqa: E402
from tests.benchmarks.exports import Generated, write_export  # noqa: E402

STAMP = "nobody: synthetic notes, measured without de-identification"
TARGETS = {"read": 10.0, "datatrove": 3.0, "tokenize": 2.0, "deid": 0.5, "memory": 1.5}
VOCABULARY, SAMPLE_CHARACTERS = 16_384, 4_000_000


def read(export: Export, folder: Path) -> Corpus:
    """Read, deduplicate, split: what `appliance.corpus_building.build` does, without de-identification."""

    def part(number: int, file: Any) -> Part:
        def documents(drops: Drops, remarks: Counter[str]) -> Iterator[Document]:
            for note in export.notes(file, drops, remarks):
                group = group_of(b"key", note.patient.value if note.patient else note.note_id)
                at = note.written_at.isoformat() if note.written_at else ""
                yield Document(note.note_id, note.text, group, note.kind.value, at, STAMP)

        return prepare(folder, f"{number:04}", Source(1, file.size, file.name), STAMP, documents)

    return select(folder, [part(number, file) for number, file in enumerate(export.files)], STAMP)


def with_datatrove(export: Path, folder: Path) -> int:
    """JsonlReader and the four MinHash stages, one task, no writer; words by white space, faster than its default spaCy."""
    from datatrove.pipeline.dedup import minhash
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.utils.logging import logger
    from datatrove.utils.word_tokenizers import WordTokenizer

    class Words(WordTokenizer):
        def word_tokenize(self, text: str) -> list[str]:
            return text.split()

        sent_tokenize = span_tokenize = word_tokenize

    logger.remove()
    config = minhash.MinhashConfig()
    reader = JsonlReader(str(export), id_key="note_id")
    minhash.MinhashDedupSignature(str(folder / "signatures"), config, Words("en")).run(reader.run())
    buckets = minhash.MinhashDedupBuckets(str(folder / "signatures"), str(folder / "buckets"), config=config)
    for rank in range(config.num_buckets):
        buckets.run(rank=rank, world_size=config.num_buckets)
    minhash.MinhashDedupCluster(str(folder / "buckets"), str(folder / "removed"), config).run()
    return sum(1 for _ in minhash.MinhashDedupFilter(str(folder / "removed")).run(reader.run()))


def seconds(work: Callable[[Path], object]) -> float:
    """CPU time of this process for doing it once, in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        began = process_time()
        work(Path(folder))
        return process_time() - began


def alternated(rounds: int, works: dict[str, Callable[[Path], object]]) -> dict[str, list[float]]:
    """Seconds of each in every round, in turns: A B, B A, A B."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds):
        for name in list(works)[:: 1 if number % 2 == 0 else -1]:
            taken[name].append(seconds(works[name]))
    return taken


class Report:
    """Prints figures as they come, and knows whether one missed its target."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self.missed = False

    def figure(
        self,
        variant: str,
        metric: str,
        value: float,
        n: int,
        note: str,
        baseline: float | None = None,
        ratio: float | None = None,
    ) -> None:
        line = {"bench": "corpus", "variant": variant, "metric": metric, "value": round(value, 3)}
        line |= {"baseline": baseline and round(baseline, 3), "ratio": ratio and round(ratio, 2), "n": n, "note": note}
        said = f"{variant}: {value:.2f} {metric}" + (f", {ratio:.2f} x {baseline:.2f}" if baseline and ratio else "")
        print(json.dumps(line) if self._as_json else f"{said} ({note})", flush=True)

    def at_least(self, found: float, target: float) -> None:
        self.missed |= found < target


def measure_read(report: Report, made: Generated, rounds: int) -> None:
    """Read + deduplicate + split, here and with datatrove."""
    megabytes = made.size_bytes / 1e6
    export = open_export(made.folder, Counter())
    works: dict[str, Callable[[Path], object]] = {"here": lambda folder: read(export, folder)}
    try:
        import datatrove  # noqa: F401
    except ImportError:
        print("datatrove is not installed; its variant is skipped (pip install datatrove orjson xxhash)", file=sys.stderr)
    else:
        works["datatrove"] = lambda folder: with_datatrove(made.folder, folder)
    taken = alternated(rounds, works)
    speed = statistics.median(megabytes / s for s in taken["here"])
    with tempfile.TemporaryDirectory() as folder:
        drops = read(export, Path(folder)).drops
    found = drops["the same note saved again (same patient)"] / max(made.saved_again, 1)
    said = f"{made.notes} notes, {made.saved_again} saved again of which {found:.1%} found; target {TARGETS['read']:g}"
    report.at_least(speed, TARGETS["read"])
    if "datatrove" not in taken:
        return report.figure("read + dedup + split", "MB/s per core", speed, rounds, said)
    theirs = statistics.median(megabytes / s for s in taken["datatrove"])
    ratio = statistics.median(b / a for a, b in zip(taken["here"], taken["datatrove"], strict=True))
    report.figure("read + dedup + split", "MB/s per core", speed, rounds, f"{said}; baseline datatrove", theirs, ratio)
    report.figure(
        "datatrove: JsonlReader + MinHash stages", "MB/s per core", theirs, rounds, "its defaults, words by white space"
    )
    report.at_least(ratio, TARGETS["datatrove"])


def measure_tokenize(report: Report, made: Generated, rounds: int) -> None:
    """Documents to shards, and encoding with offsets for comparison."""
    with tempfile.TemporaryDirectory() as folder:
        documents = list(read(open_export(made.folder, Counter()), Path(folder)).train)
    trained = train_tokenizer([d.text for d in documents[: 1 + 2_000_000 // 2000]], VOCABULARY)
    trained.save(Path(made.folder.parent) / "tokenizer.json")
    size = sum(len(d.text.encode()) for d in documents) / 1e6

    def fresh() -> Tokenizer:
        return Tokenizer.load(made.folder.parent / "tokenizer.json")  # remembers no word

    works: dict[str, Callable[[Path], object]] = {
        "shards": lambda folder: shards.tokenize(folder / "shard", documents, fresh(), STAMP, "measured"),
        "encode": lambda folder: [trained.encode(d.text).ids for d in documents],
    }
    taken = alternated(rounds, works)
    ours, encode = (statistics.median(size / s for s in taken[name]) for name in ("shards", "encode"))
    ratio = statistics.median(b / a for a, b in zip(taken["shards"], taken["encode"], strict=True))
    note = f"{trained.vocab_size} pieces, shards written; baseline Tokenizer.encode; target {TARGETS['tokenize']:g}"
    report.figure("tokenize", "MB/s per core", ours, rounds, note, encode, ratio)
    report.at_least(ours, TARGETS["tokenize"])


def measure_deid(report: Report, made: Generated, rounds: int) -> None:
    """The whole line: export, de-identification, parts, selection, shards."""
    export = open_export(made.folder, Counter())
    with tempfile.TemporaryDirectory() as folder:
        corpus = build(export, Path(folder), b"key", workers=1)
        trained = train_tokenizer(corpus.sample(2_000_000), VOCABULARY)

    def whole(folder: Path) -> None:
        corpus = build(export, folder, b"key", workers=1)
        shards.tokenize(folder / "train", corpus.train, trained, corpus.stamp, corpus.train.fingerprint)

    speed = statistics.median(made.size_bytes / 1e6 / s for s in alternated(rounds, {"whole": whole})["whole"])
    note = f"de-identification on, the tokenizer's training left out; target {TARGETS['deid']:g}"
    report.figure("whole line, de-identified, to shards", "MB/s per core", speed, rounds, note)
    report.at_least(speed, TARGETS["deid"])


def measure_memory(report: Report, gigabytes: float) -> None:
    """Peak memory of a process that goes from export to shards, the tokenizer's training included; in a process of its own."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        made = write_export(Path(folder) / "export", int(gigabytes * 1e9))
        command = [sys.executable, __file__, "--child", folder]
        done = subprocess.run(
            command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
        )
        if done.returncode:
            raise SystemExit(done.stderr)
        peaks = json.loads(done.stdout)
    peak = peaks["shards"]
    note = f"{made.size_bytes / 1e9:.2f} GB, {made.notes} notes; GB after each: {json.dumps(peaks)}; target {TARGETS['memory']:g}"
    report.figure("memory: export to shards", "GB at its peak", peak, 1, note)
    report.at_least(TARGETS["memory"], peak)


def child(folder: Path) -> None:
    """Prints the peak of resident memory so far after each step, in GB."""
    peaks = {}

    def reached(step: str) -> None:
        # Not getrusage, whose peak a process takes over from the one that started it.
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        peaks[step] = round(int(status["VmHWM"].split()[0]) * 1024 / 1e9, 3)

    reached("imports")
    corpus = read(open_export(folder / "export", Counter()), folder / "corpus")
    reached("read + dedup + split")
    tokenizer = train_tokenizer(corpus.sample(SAMPLE_CHARACTERS), VOCABULARY)
    reached("tokenizer trained")
    shards.tokenize(folder / "train", corpus.train, tokenizer, corpus.stamp, corpus.train.fingerprint)
    reached("shards")
    print(json.dumps(peaks))


def main() -> int:
    """0 where every figure met its target."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="a JSON object per line")
    parser.add_argument("--only", choices=["read", "tokenize", "deid", "memory"], help="one of the measurements")
    parser.add_argument("--megabytes", type=float, default=10, help="size of the export whose speed is measured")
    parser.add_argument(
        "--gigabytes", type=float, default=0.1, help="size of the export whose memory is measured; 2 is the target's"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    if args.child:
        child(args.child)
        return 0
    report = Report(args.json)
    speeds = {"read": measure_read, "tokenize": measure_tokenize, "deid": measure_deid}
    with tempfile.TemporaryDirectory() as folder:
        made = write_export(Path(folder) / "export", int(args.megabytes * 1e6))
        for name, measure in speeds.items():
            if args.only in (None, name):
                measure(report, made, args.rounds)
    if args.only in (None, "memory"):
        measure_memory(report, args.gigabytes)
    return int(report.missed)


if __name__ == "__main__":
    sys.exit(main())
