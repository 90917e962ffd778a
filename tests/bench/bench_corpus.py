"""The corpus at the cost of the change: ten posts added to many, the shared posts, peak memory.

    python tests/bench/bench_corpus.py --full [--base FOLDER] [--only PART …] [--json FILE]
    python tests/bench/bench_corpus.py --quick [--only PART …] [--json FILE]  # a CPU minute
    python tests/bench/bench_corpus.py --folder PATH … [--author NAME] [--json FILE]

Every figure is of the job `import_posts` as it is (four assets and their blocking checks), each run
in a process of its own, from the sources to searchable. Time is CPU seconds of that process without
its start (importing the code: the same for one post and for 100,000, and a row of its own); wall
seconds stand beside it.
Bytes are those of files under the tables that are new or changed after the run.

The rebuild is measured on fewer posts and scaled linearly. The vectors of the large base, and of it
alone, are random: what is measured on it is what ten posts cost beside them, and those get real
ones. It is not what is measured and takes minutes: `--base` keeps it for the next time, as it was
before the ten came. There is no peer: the Handbook's pipeline reads everything again, which is the
rebuild here.

`--folder` reads and cleans any folders as an import does and prints what became of each
(`corpus_folders.py`): somebody else's words, quotations, mathematics, links, claims, dates.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench.rows import Row, format_header, format_row, write_json
from tests.prepared_embedder import lend_weights, prepare_weights
from twin_resources.authors import Author, write_author
from twin_resources.settings import Settings, load_settings

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("TWIN_SHARED_DATA", ROOT.parent / "shared" / "data")) / "posts"
SLUG = "bench"
ADDED = 10
SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
# One a new post, by which it must be found; nothing like them is in the shared posts.
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
    """How much is done; each number is of posts."""

    base: int
    rebuilt: int
    small: int
    shared: int | None
    time_goal: float
    bytes_goal: float


FULL = Form(100_000, 10_000, 1_000, None, time_goal=1 / 500, bytes_goal=0.01)
# Ten of 150 cannot cost a five-hundredth: the run's own start is most of it.
QUICK = Form(150, 50, 10, 20, time_goal=0.75, bytes_goal=0.5)


def sentences() -> list[str]:
    """Sentences of the shared posts outside code, in a fixed order."""
    found: list[str] = []
    for path in sorted(SHARED.rglob("*")):
        if path.suffix not in {".md", ".markdown"} or not path.is_file():
            continue
        text = re.sub(r"(?s)\A---.*?^---$|```.*?```", "", path.read_text("utf-8"), flags=re.M)
        for paragraph in text.split("\n\n"):
            line = " ".join(paragraph.split())
            if not re.match(r"[A-Z][a-z]", line) or "{" in line or "<" in line:
                continue
            found += [part for part in SENTENCE.split(line) if 6 <= len(part.split()) <= 60]
    return list(dict.fromkeys(found))


def posts(count: int, *, seed: int, pool: list[str]) -> Iterator[tuple[str, str]]:
    """Names and texts of generated posts of about 1.1 KB, from sentences drawn at random.

    Each has 1 to 4 paragraphs of 3 to 6 sentences. Two of them share a sentence now and then, as
    an author's posts do, and never a paragraph.
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
    """Ten posts, each with a sentence by which it can be found."""
    for planted, (name, text) in zip(PLANTED, posts(ADDED, seed=99, pool=pool), strict=True):
        (folder / "_posts" / name).write_text(f"{text}\n{planted}\n", encoding="utf-8")


def run_import(home: Settings, *, random_vectors: bool = False) -> dict[str, float]:
    """`import_posts` in a process of its own: cpu_s, wall_s, peak_mb, written."""
    before = files_of(home)
    command = [sys.executable, __file__, "--worker", "random" if random_vectors else "real"]
    environment = os.environ | {
        "TWIN_HOME": str(home.home), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the import failed:\n{done.stderr[-4000:]}")
    cost: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    after = files_of(home)
    written = sum(found[0] for path, found in after.items() if before.get(path) != found)
    return cost | {"written": float(written)}


def files_of(home: Settings) -> dict[str, tuple[int, int]]:
    """Path → size and modification time, of every file under the tables."""
    return {
        str(path): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in Path(home.tables_base).rglob("*")
        if path.is_file()
    }


def work(vectors: str) -> int:
    """The worker: one import, its cost as the last line of JSON."""
    import dagster as dg

    from twin_assets.definitions import build_defs
    from twin_resources.dagster_resources import EmbedderResource

    class RandomVectors(EmbedderResource):
        """The embedder's name and size without its work, for a base that only has to be large."""

        def embedder(self) -> Any:
            return _Random(super().embedder())

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


class _Random:
    """Vectors of length 1 in no direction in particular."""

    def __init__(self, real: Any) -> None:
        self.revision, self.dimension, self.drawn = real.revision, real.dimension, 0
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

        self.drawn += 1
        drawn = np.random.default_rng(self.drawn).normal(size=(len(texts), self.dimension))
        return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype("float32")


def require_found(home: Settings) -> None:
    """Each of the ten added posts is the first that its own sentence's words find.

    Not by vectors as well: beside random ones they rank at random.
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


PARTS = ("start", "change", "shared")


def measure(form: Form, base: Path, *, kept: Path | None, only: Sequence[str]) -> list[Row]:
    rows = start_rows() if "start" in only else []
    if only == ["start"]:
        return rows
    weights = prepare_weights()
    if "change" in only:
        rows += change_rows(form, base, kept, weights)
    if "shared" in only:
        rows += shared_rows(form, base, weights)
    return rows


def start_rows() -> list[Row]:
    """What every process that runs an asset pays first; medians of five, one after the other."""
    spent: dict[str, list[float]] = {"dagster": [], "twin_assets.definitions": []}
    environment = os.environ | {"TWIN_HOME": tempfile.gettempdir()}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # compiling is no import
    for _ in range(6):
        for module, seconds in spent.items():
            code = f"import {module}, time; print(time.process_time())"
            said = subprocess.run(
                [sys.executable, "-c", code],
                cwd=ROOT,
                env=environment,
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            ).stdout
            seconds.append(float(said))
    # the first of the six wrote the bytecode
    dagster, ours = (statistics.median(seconds[1:]) for seconds in spent.values())
    peers = {"dagster alone": dagster}
    return [Row("importing the definitions", ours, "CPU s", 2.0, ours <= 2.0, peers)]


def change_rows(form: Form, base: Path, kept: Path | None, weights: Path) -> list[Row]:
    """Ten posts beside many, and beside them what all cost from nothing."""
    pool = sentences()
    sys.stderr.write(f"{len(pool):,} sentences of the shared posts\n")
    with many_posts(form, kept or base, pool, weights) as (home, posts_at):
        idle = _said("nothing new", run_import(home))
        add_ten(posts_at, pool)
        ten = _said("ten added", run_import(home))
        require_found(home)
    rebuilt: dict[int, dict[str, float]] = {}
    for count in (form.small, form.rebuilt):
        write_posts(base / f"posts-{count}", count, seed=count, pool=pool)
        home = new_home(base, str(count), weights, base / f"posts-{count}")
        rebuilt[count] = _said(f"{count:,} posts from nothing", run_import(home))
    return [*ten_rows(form, ten, rebuilt[form.rebuilt], idle), *memory_rows(form, rebuilt)]


@contextmanager
def many_posts(
    form: Form, place: Path, pool: list[str], weights: Path
) -> Generator[tuple[Settings, Path]]:
    """The large base and the folder of its posts, set back afterwards."""
    posts_at, there = place / "many", place / "homes" / "many"
    write_posts(posts_at, form.base, seed=1, pool=pool)
    home = load_settings(there) if there.exists() else new_home(place, "many", weights, posts_at)
    made = run_import(home, random_vectors=True)
    _said(f"base of {form.base:,} (random vectors)", made)
    # Tables are known by where they lie, so what is measured lies where the base did.
    before = there.with_name("many-before")
    shutil.copytree(there, before, symlinks=True)
    names = {path.name for path in (posts_at / "_posts").iterdir()}
    try:
        yield home, posts_at
    finally:
        shutil.rmtree(there)
        before.rename(there)
        for path in (posts_at / "_posts").iterdir():
            if path.name not in names:
                path.unlink()


def ten_rows(
    form: Form, ten: dict[str, float], whole: dict[str, float], idle: dict[str, float]
) -> list[Row]:
    scale = form.base / form.rebuilt
    name = f"{ADDED} posts added to {form.base:,}"
    beside = {
        "ten, CPU s": ten["cpu_s"], "ten, wall s": ten["wall_s"],
        f"rebuild of {form.rebuilt:,} × {scale:g}, CPU s": whole["cpu_s"] * scale,
        f"rebuild of {form.rebuilt:,} × {scale:g}, wall s": whole["wall_s"] * scale,
        "nothing new, CPU s": idle["cpu_s"],
    }  # fmt: skip
    time_ratio = ten["cpu_s"] / (whole["cpu_s"] * scale)
    bytes_ratio = ten["written"] / (whole["written"] * scale)
    written = {"ten, MB": ten["written"] / 1e6, "rebuild, MB": whole["written"] * scale / 1e6}
    return [
        Row(f"{name}: time / rebuild", time_ratio, "ratio", form.time_goal,
            time_ratio <= form.time_goal, beside),
        Row(f"{name}: bytes / rebuild", bytes_ratio, "ratio", form.bytes_goal,
            bytes_ratio <= form.bytes_goal, written),
    ]  # fmt: skip


def memory_rows(form: Form, rebuilt: dict[int, dict[str, float]]) -> list[Row]:
    small, large = rebuilt[form.small]["peak_mb"], rebuilt[form.rebuilt]["peak_mb"]
    ratio = large / small
    return [
        Row(f"peak memory, {form.rebuilt:,} posts / {form.small:,}", ratio, "ratio", 1.2,
            0.8 <= ratio <= 1.2, {"small, MB": small, "large, MB": large})
    ]  # fmt: skip


def shared_rows(form: Form, base: Path, weights: Path) -> list[Row]:
    """The shared posts as they are, two sources of one author."""
    folders = [SHARED / "skeeto", SHARED / "jbranchaud-til"]
    if form.shared is not None:
        folders = [_some_of(folders[0] / "_posts", base / "shared" / "_posts", form.shared).parent]
    home = new_home(base, "shared", weights, *folders)
    cost = _said("shared posts", run_import(home))
    count = sum(_posts_in(folder) for folder in folders)
    return [
        Row(f"{count:,} shared posts, import to searchable", cost["cpu_s"], "CPU s",
            peers={"wall s": cost["wall_s"]}),
        Row(f"{count:,} shared posts, peak memory", cost["peak_mb"], "MB"),
    ]  # fmt: skip


def _posts_in(folder: Path) -> int:
    from twin_assets.corpus.importers.folders import scan_source

    return len(scan_source(folder).posts)


def _some_of(source: Path, target: Path, count: int) -> Path:
    target.mkdir(parents=True)
    for path in sorted(source.iterdir())[:count]:
        (target / path.name).write_bytes(path.read_bytes())
    return target


def _said(what: str, cost: dict[str, float]) -> dict[str, float]:
    numbers = ", ".join(f"{name} {value:,.1f}" for name, value in cost.items())
    sys.stderr.write(f"{what}: {numbers}\n")
    return cost


def measure_folders(folders: Sequence[Path], names: Sequence[str], file: Path | None) -> int:
    """The rows of each folder; 0 when all hold, and one that cannot be imported does not."""
    from tests.bench.corpus_folders import commit_of, folder_rows
    from twin_resources.errors import TwinError

    every: list[Row] = []
    print(format_header())
    for folder in folders:
        print(f"{folder.name} {commit_of(folder)}".rstrip())
        try:
            rows = folder_rows(folder, names)
        except TwinError as error:
            print(error)
            rows = [Row("could not be imported", 1, "folders", 0, holds=False)]
        for item in rows:
            print(format_row(item), flush=True)
        every += [replace(item, name=f"{folder.name}: {item.name}") for item in rows]
    if file:
        write_json(every, file)
    return 0 if all(item.holds for item in every) else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    size = parser.add_mutually_exclusive_group(required=True)
    size.add_argument("--quick", action="store_true")
    size.add_argument("--full", action="store_true")
    size.add_argument("--worker", choices=("real", "random"), help=argparse.SUPPRESS)
    size.add_argument("--folder", type=Path, nargs="+", help="real folders, each by itself")
    parser.add_argument("--author", action="append", default=[], help="with --folder: a name")
    parser.add_argument("--base", type=Path, help="where the large base is kept, or made")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.worker:
        return work(options.worker)
    if options.folder:
        return measure_folders(options.folder, options.author, options.json)
    with tempfile.TemporaryDirectory(prefix="twin-bench-") as folder:
        form = FULL if options.full else QUICK
        rows = measure(form, Path(folder), kept=options.base, only=options.only)
    if options.quick:
        print("quick form: fewer posts, and goals for so few (see QUICK)")
    print(f"{'what':52} {'value':>9} {'unit':6} {'goal':>8}  holds")
    for item in rows:
        goal = "" if item.goal is None else f"≤ {item.goal:g}"
        print(f"{item.name:52} {item.value:9.4f} {item.unit:6} {goal:>8}  {item.holds}")
        for name, value in item.peers.items():
            print(f"    {name:48} {value:9.3f}")
    if options.json:
        write_json(rows, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
