"""Cost of imports: ten posts added to many, the shared posts.

    python tests/bench/bench_corpus.py --full [--only PART …] [--json FILE]
    python tests/bench/bench_corpus.py --quick [--only PART …] [--json FILE]  # a CPU minute
    python tests/bench/bench_corpus.py --folder PATH … [--author NAME] [--json FILE]

Every figure is of the job `import_posts` (four assets and their blocking checks) in a separate
process, from the sources to searchable tables. Time is CPU seconds of that process, with wall
seconds beside it. It excludes importing the code, which takes the same for any number of posts.

The rebuild is measured on fewer posts and scaled linearly. Only the large base has random vectors,
because the figure is the cost of ten further posts, which get real vectors. Making the base takes
minutes and is not measured. There is no peer: the Handbook's pipeline reads everything again, as
the rebuild here does.

`--folder` reads and cleans any folders as an import does and prints the results
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
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench.questions.questions import SHARED_DATA
from tests.bench.rows import (
    Row,
    bounded_row,
    format_header,
    format_row,
    print_results,
    write_json,
)
from tests.prepared_embedder import lend_weights, prepare_weights
from twin_resources.authors import Author, write_author
from twin_resources.settings import Settings, load_settings

ROOT = Path(__file__).resolve().parents[2]
SHARED = SHARED_DATA / "posts"
SLUG = "bench"
ADDED = 10
SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
# One for each new post, by which it must be found; the shared posts contain nothing similar.
PLANTED = (
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
class Form:
    """The amount of work of a run; numbers are of posts."""

    base: int
    rebuilt: int
    shared: int | None
    time_goal: float


FULL = Form(100_000, 10_000, None, time_goal=1 / 500)
# Ten of 150 cannot cost a five-hundredth: starting the run takes most of the time.
QUICK = Form(150, 50, 20, time_goal=0.75)


def sentences() -> list[str]:
    """Return sentences of the shared posts outside code, in a fixed order."""
    result: list[str] = []
    for path in sorted(SHARED.rglob("*")):
        if path.suffix not in {".md", ".markdown"} or not path.is_file():
            continue
        text = re.sub(r"(?s)\A---.*?^---$|```.*?```", "", path.read_text("utf-8"), flags=re.M)
        for paragraph in text.split("\n\n"):
            line = " ".join(paragraph.split())
            if not re.match(r"[A-Z][a-z]", line) or "{" in line or "<" in line:
                continue
            result += [part for part in SENTENCE.split(line) if 6 <= len(part.split()) <= 60]
    return list(dict.fromkeys(result))


def posts(count: int, *, seed: int, pool: list[str]) -> Iterator[tuple[str, str]]:
    """Yield names and texts of generated posts of about 1.1 KB, from randomly drawn sentences.

    Each has 1 to 4 paragraphs of 3 to 6 sentences. Like an author's posts, two posts may share a
    sentence, but never a paragraph.
    """
    draw = random.Random(seed)
    first = date(2001, 1, 1)
    for number in range(count):
        title = " ".join(draw.choice(pool).split()[:7]).strip(".,:;!?\"'")
        body = "\n\n".join(
            " ".join(draw.sample(pool, draw.randint(3, 6))) for _ in range(draw.randint(1, 4))
        )
        day = first + timedelta(days=draw.randrange(9_000))
        head = f"---\ntitle: {json.dumps(title)}\ndate: {day}\n---\n"
        yield f"{day}-{seed}-{number:06}.md", f"{head}\n{body}\n"


def write_posts(folder: Path, count: int, *, seed: int, pool: list[str]) -> None:
    target = folder / "_posts"
    target.mkdir(parents=True, exist_ok=True)
    for name, text in posts(count, seed=seed, pool=pool):
        (target / name).write_text(text, encoding="utf-8")


def add_ten(folder: Path, pool: list[str]) -> None:
    """Write ten posts, each with a unique sentence."""
    for planted, (name, text) in zip(PLANTED, posts(ADDED, seed=99, pool=pool), strict=True):
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
    """Import in this process, and print the cost as a line of JSON."""
    import dagster as dg

    from twin_assets.definitions import build_defs
    from twin_resources.dagster_resources import EmbedderResource

    class RandomVectors(EmbedderResource):
        """An embedder with random vectors, for a base that only has to be large."""

        def embedder(self) -> Any:
            return _RandomEmbedder(super().embedder())

    resources = {"embedder": RandomVectors()} if vectors == "random" else {}
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


class _RandomEmbedder:
    """Random vectors of length 1, with the revision and dimension of the real embedder."""

    def __init__(self, real: Any) -> None:
        self.revision, self.dimension, self.calls = real.revision, real.dimension, 0
        self.tokenizer = real.tokenizer

    def embed(
        self,
        texts: list[str],
        *,
        progress: object = None,
        each_text: Callable[[int, Any], object] | None = None,
    ) -> Any:
        import numpy as np

        if each_text is not None:
            for number in range(len(texts)):
                each_text(number, np.ones((1, self.dimension), "float32"))

        self.calls += 1
        vectors = np.random.default_rng(self.calls).normal(size=(len(texts), self.dimension))
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype("float32")


def require_found(home: Settings) -> None:
    """Require that full-text search ranks each added post first for its unique sentence.

    Vector search is not tested, because most vectors of the base are random.
    """
    import lancedb

    from twin_resources.models.retrieval.retrieval import EMBEDDINGS_TABLE
    from twin_resources.models.retrieval.search import RetrievalQuery, search_full_text

    table = lancedb.connect(f"{home.tables_base}/{SLUG}").open_table(EMBEDDINGS_TABLE)
    for planted in PLANTED:
        found = search_full_text(table, RetrievalQuery(planted))
        assert found, planted
        assert planted in found[0]["text"], planted


def new_home(base: Path, name: str, weights: Path, *sources: Path) -> Settings:
    home = load_settings(base / "homes" / name)
    home.home.mkdir(parents=True)
    lend_weights(weights, home)
    write_author(home, Author(SLUG, "Bench", sources=tuple(map(str, sources))))
    return home


PARTS = ("change", "shared")


def measure(form: Form, base: Path, *, only: Sequence[str]) -> list[Row]:
    weights = prepare_weights()
    rows: list[Row] = []
    if "change" in only:
        rows += change_rows(form, base, weights)
    if "shared" in only:
        rows += shared_rows(form, base, weights)
    return rows


def change_rows(form: Form, base: Path, weights: Path) -> list[Row]:
    """Return the row of ten posts added to many, compared with a rebuild."""
    pool = sentences()
    sys.stderr.write(f"{len(pool):,} sentences of the shared posts\n")
    write_posts(base / "many", form.base, seed=1, pool=pool)
    home = new_home(base, "many", weights, base / "many")
    cost = run_import(home, random_vectors=True)
    _report(f"base of {form.base:,} (random vectors)", cost)
    idle = _report("nothing new", run_import(home))
    add_ten(base / "many", pool)
    ten = _report("ten added", run_import(home))
    require_found(home)
    write_posts(base / "rebuilt", form.rebuilt, seed=form.rebuilt, pool=pool)
    home = new_home(base, "rebuilt", weights, base / "rebuilt")
    whole = _report(f"{form.rebuilt:,} posts from nothing", run_import(home))
    return [ten_row(form, ten, whole, idle)]


def ten_row(
    form: Form, ten: dict[str, float], whole: dict[str, float], idle: dict[str, float]
) -> Row:
    scale = form.base / form.rebuilt
    name = f"{ADDED} posts added to {form.base:,}"
    times = {
        "ten, CPU s": ten["cpu_s"], "ten, wall s": ten["wall_s"],
        f"rebuild of {form.rebuilt:,} × {scale:g}, CPU s": whole["cpu_s"] * scale,
        f"rebuild of {form.rebuilt:,} × {scale:g}, wall s": whole["wall_s"] * scale,
        "nothing new, CPU s": idle["cpu_s"],
    }  # fmt: skip
    time_ratio = ten["cpu_s"] / (whole["cpu_s"] * scale)
    return bounded_row(
        f"{name}: time / rebuild", time_ratio, "ratio", at_most=form.time_goal, peers=times
    )


def shared_rows(form: Form, base: Path, weights: Path) -> list[Row]:
    """Return rows of the shared posts as two sources of one author."""
    folders = [SHARED / "skeeto", SHARED / "jbranchaud-til"]
    if form.shared is not None:
        folders = [
            _copy_some(folders[0] / "_posts", base / "shared" / "_posts", form.shared).parent
        ]
    home = new_home(base, "shared", weights, *folders)
    cost = _report("shared posts", run_import(home))
    count = sum(_count_posts(folder) for folder in folders)
    return [
        Row(f"{count:,} shared posts, import to searchable", cost["cpu_s"], "CPU s",
            peers={"wall s": cost["wall_s"]}),
        Row(f"{count:,} shared posts, peak memory", cost["peak_mb"], "MB"),
    ]  # fmt: skip


def _count_posts(folder: Path) -> int:
    from twin_assets.corpus.importers.folders import scan_source

    return len(scan_source(folder).posts)


def _copy_some(source: Path, target: Path, count: int) -> Path:
    target.mkdir(parents=True)
    for path in sorted(source.iterdir())[:count]:
        (target / path.name).write_bytes(path.read_bytes())
    return target


def _report(step: str, cost: dict[str, float]) -> dict[str, float]:
    numbers = ", ".join(f"{name} {value:,.1f}" for name, value in cost.items())
    sys.stderr.write(f"{step}: {numbers}\n")
    return cost


def measure_folders(folders: Sequence[Path], names: Sequence[str], file: Path | None) -> int:
    """Print each folder's rows; return 0 when all hold. A failed import counts as a failed row."""
    from tests.bench.corpus_folders import commit_of, folder_rows
    from twin_resources.errors import TwinError

    all_rows: list[Row] = []
    print(format_header())
    for folder in folders:
        print(f"{folder.name} {commit_of(folder)}".rstrip())
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
    size = parser.add_mutually_exclusive_group(required=True)
    size.add_argument("--quick", action="store_true")
    size.add_argument("--full", action="store_true")
    size.add_argument("--worker", choices=("real", "random"), help=argparse.SUPPRESS)
    size.add_argument("--folder", type=Path, nargs="+", help="folders of real posts")
    parser.add_argument("--author", action="append", default=[], help="with --folder: a name")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.worker:
        return run_worker(options.worker)
    if options.folder:
        return measure_folders(options.folder, options.author, options.json)
    with tempfile.TemporaryDirectory(prefix="twin-bench-") as folder:
        form = FULL if options.full else QUICK
        rows = measure(form, Path(folder), only=options.only)
    if options.quick:
        print("quick form: fewer posts, and goals for that number (see QUICK)")
    print_results(rows, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
