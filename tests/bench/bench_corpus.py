"""Measure the cost of importing: ten posts added to many, and the shared posts.

    python tests/bench/bench_corpus.py --full [--only PART …] [--json FILE]
    python tests/bench/bench_corpus.py --quick [--only PART …] [--json FILE]  # a CPU minute
    python tests/bench/bench_corpus.py --folder PATH … [--author NAME] [--json FILE]

Every figure is for the job `import_posts` (four assets and their blocking checks) in a separate
process, from the sources to searchable tables. Times are CPU seconds of that process, and wall
seconds for comparison. They exclude loading the code, which does not depend on the number of posts.

The rebuild is measured on fewer posts and scaled linearly. Only the existing posts have random
vectors, because the figure is the cost of ten more posts, which get real vectors. Importing the
existing posts takes minutes and is not measured. There is no peer: the pipeline of the LLM
Engineer's Handbook reads everything again, as the rebuild here does.

`--folder` reads and cleans the given folders as an import does, and prints the results
(`corpus_folders.py`): foreign text, quotations, mathematics, links, claims, dates.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench.questions.questions import SHARED_DATA
from tests.bench.rows import Row, bounded_row, format_header, format_row, print_results, write_json
from tests.prepared_embedder import link_weights, prepare_weights
from twin_resources.authors import Author, write_author
from twin_resources.settings import Settings, load_settings

ROOT = Path(__file__).resolve().parents[2]
SHARED = SHARED_DATA / "posts"
SLUG = "bench"
ADDED_POSTS = 10
SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
# Each added post contains one of these, and search must find it. No shared post is similar.
PLANTED_SENTENCES = (
    "The amber heron keeps a ledger of every tide that it has slept through.",
    "Nobody in Valparaiso had ever tuned a harmonium by candlelight before.",
    "Seven beekeepers argued all night about the price of quinces.",
    "My grandmother's umbrella was patched with sailcloth from a wrecked ketch.",
    "Glaciers sound like slow applause if you press an ear to the moraine.",
    "The cartographer refused to draw islands smaller than her thumbnail.",
    "A retired fencing master now breeds axolotls behind the bakery.",
    "We traded two sacks of barley for a cracked orrery without its moons.",
    "Rain drummed on the zeppelin hangar while the choir rehearsed Monteverdi.",
    "Every saffron farmer in the valley owns exactly one left-handed scythe.",
)


@dataclass(frozen=True)
class CorpusSize:
    """The size of a benchmark run.

    Attributes:
        base_posts: number of posts before ten are added.
        rebuilt_posts: number of posts in the measured rebuild.
        shared_posts: number of shared posts to import; None means all.
        max_time_ratio: goal for the time to add ten posts, divided by the time of a rebuild.
    """

    base_posts: int
    rebuilt_posts: int
    shared_posts: int | None
    max_time_ratio: float


FULL = CorpusSize(100_000, 10_000, None, max_time_ratio=1 / 500)
# With 150 posts the ratio cannot be 1/500, because starting the run takes most of the time.
QUICK = CorpusSize(150, 50, 20, max_time_ratio=0.75)


def read_sentences() -> list[str]:
    """Return the sentences of the shared posts, without code, in a fixed order."""
    result: list[str] = []
    for path in sorted(SHARED.rglob("*")):
        if path.suffix not in {".md", ".markdown"} or not path.is_file():
            continue
        text = re.sub(r"(?s)\A---.*?^---$|```.*?```", "", path.read_text("utf-8"), flags=re.M)
        for paragraph in text.split("\n\n"):
            line = " ".join(paragraph.split())
            if not re.match(r"[A-Z][a-z]", line) or "{" in line or "<" in line:
                continue
            result += [part for part in SENTENCE_END.split(line) if 6 <= len(part.split()) <= 60]
    return list(dict.fromkeys(result))


def generate_posts(count: int, *, seed: int, sentences: list[str]) -> Iterator[tuple[str, str]]:
    """Yield (file name, text) of generated posts of about 1.1 KB, made of random sentences.

    Each has 1 to 4 paragraphs of 3 to 6 sentences. Two posts may share a sentence, as an author's
    posts do, but hardly ever a paragraph.
    """
    rng = random.Random(seed)
    first_day = date(2001, 1, 1)
    for number in range(count):
        title = " ".join(rng.choice(sentences).split()[:7]).strip(".,:;!?\"'")
        body = "\n\n".join(
            " ".join(rng.sample(sentences, rng.randint(3, 6))) for _ in range(rng.randint(1, 4))
        )
        day = first_day + timedelta(days=rng.randrange(9_000))
        front_matter = f"---\ntitle: {json.dumps(title)}\ndate: {day}\n---\n"
        yield f"{day}-{seed}-{number:06}.md", f"{front_matter}\n{body}\n"


def write_posts(folder: Path, count: int, *, seed: int, sentences: list[str]) -> None:
    target = folder / "_posts"
    target.mkdir(parents=True, exist_ok=True)
    for name, text in generate_posts(count, seed=seed, sentences=sentences):
        (target / name).write_text(text, encoding="utf-8")


def add_ten_posts(folder: Path, sentences: list[str]) -> None:
    """Write ten posts, each with a unique sentence."""
    posts = generate_posts(ADDED_POSTS, seed=99, sentences=sentences)
    for planted, (name, text) in zip(PLANTED_SENTENCES, posts, strict=True):
        (folder / "_posts" / name).write_text(f"{text}\n{planted}\n", encoding="utf-8")


def run_import(home: Settings, *, random_vectors: bool = False) -> dict[str, float]:
    """Run `import_posts` in a separate process; return cpu_s, wall_s and peak_mb."""
    command = [sys.executable, __file__, "--worker", "random" if random_vectors else "real"]
    environment = os.environ | {
        "TWIN_HOME": str(home.home), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    completed = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False
    )
    if completed.returncode:
        raise SystemExit(f"the import failed:\n{completed.stderr[-4000:]}")
    cost: dict[str, float] = json.loads(completed.stdout.splitlines()[-1])
    return cost


def run_worker(vectors: str) -> int:
    """Import in this process, and print the cost as one line of JSON."""
    import dagster as dg
    import numpy as np

    from twin_assets.definitions import build_defs
    from twin_resources.dagster_resources import EmbedderResource
    from twin_resources.models.embedder.embedder import Embedder, find_prepared_embedder

    generator = np.random.default_rng(1)

    class RandomEmbedder(Embedder):
        """The real embedder, with random vectors for posts of which only the number matters."""

        def embed(
            self,
            texts: Sequence[str],
            *,
            are_questions: bool = False,
            progress: Callable[[int, int], object] | None = None,
        ) -> np.ndarray:
            vectors = generator.normal(size=(len(texts), self.dimension))
            if progress is not None:
                progress(1, 1)
            return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype("float32")

    class RandomEmbedderResource(EmbedderResource):
        def embedder(self) -> Embedder:
            return RandomEmbedder(*find_prepared_embedder(self.settings()), threads=1)

    resources = {"embedder": RandomEmbedderResource()} if vectors == "random" else {}
    job = build_defs(resources=resources).resolve_job_def("import_posts")
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("authors", [SLUG])
        cpu, wall = time.process_time(), time.monotonic()
        result = job.execute_in_process(partition_key=SLUG, instance=instance)
        cost = {"cpu_s": time.process_time() - cpu, "wall_s": time.monotonic() - wall}
    assert result.success
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(cost | {"peak_mb": peak}))
    return 0


def require_planted_found(home: Settings) -> None:
    """Require that full-text search ranks each added post first for its unique sentence.

    Vector search is not tested, because the vectors of the existing posts are random.
    """
    import lancedb
    import numpy as np

    from twin_resources.models.retrieval.retrieval import EMBEDDINGS_TABLE
    from twin_resources.models.retrieval.search import RetrievalQuery, find_candidates

    table = lancedb.connect(f"{home.tables_base}/{SLUG}").open_table(EMBEDDINGS_TABLE)
    for planted in PLANTED_SENTENCES:
        vector = np.ones(table.schema.field("vector").type.list_size, np.float32)
        rows = find_candidates(table, RetrievalQuery(planted), vector)
        assert planted in max(rows, key=lambda row: row["lexical"])["text"], planted


def create_home(folder: Path, name: str, weights: Path, *sources: Path) -> Settings:
    home = load_settings(folder / "homes" / name)
    home.home.mkdir(parents=True)
    link_weights(weights, home)
    write_author(home, Author(SLUG, "Bench", sources=tuple(map(str, sources))))
    return home


PARTS = ("change", "shared")


def measure(size: CorpusSize, folder: Path, *, only: Sequence[str]) -> list[Row]:
    weights = prepare_weights()
    rows: list[Row] = []
    if "change" in only:
        rows += change_rows(size, folder, weights)
    if "shared" in only:
        rows += shared_rows(size, folder, weights)
    return rows


def change_rows(size: CorpusSize, folder: Path, weights: Path) -> list[Row]:
    """Return the row for ten posts added to many, compared with a rebuild."""
    sentences = read_sentences()
    sys.stderr.write(f"{len(sentences):,} sentences of the shared posts\n")
    write_posts(folder / "many", size.base_posts, seed=1, sentences=sentences)
    home = create_home(folder, "many", weights, folder / "many")
    cost = run_import(home, random_vectors=True)
    _report(f"{size.base_posts:,} existing posts (random vectors)", cost)
    idle = _report("nothing new", run_import(home))
    add_ten_posts(folder / "many", sentences)
    ten = _report("ten added", run_import(home))
    require_planted_found(home)
    count = size.rebuilt_posts
    write_posts(folder / "rebuilt", count, seed=count, sentences=sentences)
    home = create_home(folder, "rebuilt", weights, folder / "rebuilt")
    rebuild = _report(f"{count:,} posts from nothing", run_import(home))
    return [ten_posts_row(size, ten, rebuild, idle)]


def ten_posts_row(
    size: CorpusSize, ten: dict[str, float], rebuild: dict[str, float], idle: dict[str, float]
) -> Row:
    scale = size.base_posts / size.rebuilt_posts
    name = f"{ADDED_POSTS} posts added to {size.base_posts:,}"
    times = {
        "ten, CPU s": ten["cpu_s"], "ten, wall s": ten["wall_s"],
        f"rebuild of {size.rebuilt_posts:,} × {scale:g}, CPU s": rebuild["cpu_s"] * scale,
        f"rebuild of {size.rebuilt_posts:,} × {scale:g}, wall s": rebuild["wall_s"] * scale,
        "nothing new, CPU s": idle["cpu_s"],
    }  # fmt: skip
    time_ratio = ten["cpu_s"] / (rebuild["cpu_s"] * scale)
    return bounded_row(
        f"{name}: time / rebuild", time_ratio, "ratio", at_most=size.max_time_ratio, peers=times
    )


def shared_rows(size: CorpusSize, folder: Path, weights: Path) -> list[Row]:
    """Return rows for importing the shared posts as two sources of one author."""
    folders = [SHARED / "skeeto", SHARED / "jbranchaud-til"]
    if size.shared_posts is not None:
        selected_posts = folder / "shared" / "_posts"
        folders = [_copy_first(folders[0] / "_posts", selected_posts, size.shared_posts).parent]
    home = create_home(folder, "shared", weights, *folders)
    cost = _report("shared posts", run_import(home))
    count = sum(map(_count_posts, folders))
    return [
        Row(f"{count:,} shared posts, import to searchable", cost["cpu_s"], "CPU s",
            peers={"wall s": cost["wall_s"]}),
        Row(f"{count:,} shared posts, peak memory", cost["peak_mb"], "MB"),
    ]  # fmt: skip


def _count_posts(folder: Path) -> int:
    from twin_assets.corpus.importers.folders import scan_source

    return len(scan_source(folder).posts)


def _copy_first(source: Path, target: Path, count: int) -> Path:
    target.mkdir(parents=True)
    for path in sorted(source.iterdir())[:count]:
        (target / path.name).write_bytes(path.read_bytes())
    return target


def _report(step: str, cost: dict[str, float]) -> dict[str, float]:
    numbers = ", ".join(f"{name} {value:,.1f}" for name, value in cost.items())
    sys.stderr.write(f"{step}: {numbers}\n")
    return cost


def measure_folders(folders: Sequence[Path], names: Sequence[str], file: Path | None) -> int:
    """Print each folder's rows; return 0 if all hold, else 1. A failed import is a failed row."""
    from tests.bench.corpus_folders import folder_rows, read_commit
    from twin_resources.errors import TwinError

    all_rows: list[Row] = []
    print(format_header())
    for folder in folders:
        print(f"{folder.name} {read_commit(folder)}".rstrip())
        try:
            rows = folder_rows(folder, names)
        except TwinError as error:
            print(error)
            rows = [Row("could not be imported", 1, "folders", 0, holds=False)]
        for row in rows:
            print(format_row(row), flush=True)
        all_rows += [replace(row, name=f"{folder.name}: {row.name}") for row in rows]
    if file:
        write_json(all_rows, file)
    return 0 if all(row.holds for row in all_rows) else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--quick", action="store_true")
    mode.add_argument("--full", action="store_true")
    mode.add_argument("--worker", choices=("real", "random"), help=argparse.SUPPRESS)
    mode.add_argument("--folder", type=Path, nargs="+", help="folders of real posts")
    parser.add_argument("--author", action="append", default=[], help="with --folder: author name")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.worker:
        return run_worker(options.worker)
    if options.folder:
        return measure_folders(options.folder, options.author, options.json)
    with tempfile.TemporaryDirectory(prefix="twin-bench-") as folder:
        size = FULL if options.full else QUICK
        rows = measure(size, Path(folder), only=options.only)
    if options.quick:
        print("quick mode: fewer posts, and a goal for that number (see QUICK)")
    print_results(rows, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
