"""Test the preview: its counts, warnings and errors, and the modules that it must not load."""

from __future__ import annotations

import io
import json
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from twin_cli.commands.preview_report import preview_exit_code, show_preview
from twin_cli.commands.progress_display import ProgressDisplay

from tests.previews import preview_posts
from tests.unit.corpus.export_files import write_zip
from tests.unit.corpus.sample_exports import EXPORTS, RECORD_COUNTS, SKIP_COUNTS
from twin_assets.corpus import raw_posts_import
from twin_assets.corpus.document_claims import CLAIMS
from twin_assets.corpus.preview import Preview, preview
from twin_assets.corpus.preview_tables import open_preview_tables
from twin_assets.corpus.remediation import ADVICE_BY_REASON
from twin_resources.authors import Author
from twin_resources.errors import TwinError
from twin_resources.settings import Settings

VERBS = ("mend", "paint", "carry", "hide", "polish", "weigh", "sell", "draw", "shake", "lose")
THINGS = ("clock", "lamp", "boat", "chair", "spoon", "kettle", "ladder", "bridge", "mirror")


def build_sentences(seed: int) -> str:
    """Build eight sentences that differ by seed, so that no two posts are near-duplicates."""
    choose = random.Random(seed).choice
    return " ".join(
        f"We {choose(VERBS)} the {choose(THINGS)} and then {choose(VERBS)} a "
        f"{choose(THINGS)} near the {choose(THINGS)}."
        for _ in range(8)
    )


def render_preview(result: Preview) -> str:
    """Return the text that the command prints."""
    output = io.StringIO()
    show_preview(ProgressDisplay(Console(file=output, width=1000), verbose=True), result)
    return output.getvalue()


@pytest.fixture
def posts(tmp_path: Path) -> Path:
    """Write three posts, a short one, one that is no text, and a README."""
    folder = tmp_path / "the posts of José" / "_posts"
    folder.mkdir(parents=True)
    for year, title in (
        (2001, "How to mend a clock"),
        (2002, "Why do lamps go out?"),
        (2003, "Notes"),
    ):
        text = f"---\ntitle: {title}\n---\n\n{title} {build_sentences(year)}\n"
        (folder / f"{year}-01-01-{year}.md").write_text(text)
    (folder / "2004-01-01-short.md").write_text("Too short.")
    (folder / "2004-01-02-latin.md").write_bytes(b"\xff\xfe\x00")
    (folder.parent / "README.md").write_text("# About")
    return folder.parent


def test_the_preview_counts_posts_and_words(posts: Path, home: Settings) -> None:
    result = preview_posts(home, posts, name="José")
    assert (result.found, result.kept) == (5, 3)
    assert result.dropped == {"too_short": 1, "not_utf8": 1}
    assert result.skipped == {"about the folder (README, LICENSE …)": 1}
    assert result.dates == ["2001-01-01T00:00:00+00:00", "2003-01-01T00:00:00+00:00"]
    assert result.languages == {"en": 3}
    assert set(result.titles) == {"How to mend a clock", "Why do lamps go out?", "Notes"}
    assert "How do I mend a clock?" in result.questions
    assert result.warnings == []
    assert result.changes is None
    assert not any(path.is_file() for path in home.home.rglob("*"))  # nothing is left
    text = render_preview(result)
    for part in ("5 posts found, 3 usable", "dropped 1: not utf8", "2001-01-01 to 2003-01-01"):
        assert part in text
    document = json.loads(json.dumps(result.to_json_document()))
    assert (document["author"], document["kept"], len(document["questions"])) == ("José", 3, 3)


MENU = "Send this on Copy the link Facebook E-mail Mastodon Print"
FOOTER = "Ann builds clocks in Bern, and she sells them there."
CASES: dict[str, tuple[dict[str, str | bytes], int, dict[str, int], list[str]]] = {
    "an old encoding is converted": (
        {
            "2005-01-01-old.md": f"Ein schöner Tag für die Mühle. {build_sentences(7)}".encode(
                "cp1252"
            )
        },
        4,
        {},
        ["converted 1 post from windows-1252 to UTF-8"],
    ),
    "dropped files are named with advice": (
        {f"2006-01-0{number}-short.md": "Too short." for number in range(1, 5)},
        3,
        {"too_short": 5},
        [
            "dropped 1: not utf8 (_posts/2004-01-02-latin.md); save it as UTF-8",
            "dropped 5: too short (_posts/2004-01-01-short.md, _posts/2006-01-01-short.md, "
            "_posts/2006-01-02-short.md, 2 more); it has fewer than 10 words",
        ],
    ),
    "hidden posts are not imported": (
        {
            "2007-01-01-a.md": f"---\nprivate: true\n---\n{build_sentences(4)}\n",
            "2007-01-01-b.md": f"---\nstatus: Draft\n---\n{build_sentences(4)}\n",
            "2007-01-01-c.md": f"---\nkeep_secret: yes\n---\n{build_sentences(4)}\n",
        },
        3,
        {"private": 2, "draft": 1},
        [
            "dropped 2: private (_posts/2007-01-01-a.md, _posts/2007-01-01-c.md); add --include",
            "dropped 1: draft (_posts/2007-01-01-b.md)",
        ],
    ),
    "an ambiguous date is reported": (
        {"2007-01-01-a.md": f"---\ndate: 03/05/2007\n---\n{build_sentences(4)}\n"},
        4,
        {},
        ["warning: 1 post with an ambiguous date", "_posts/2007-01-01-a.md; write 2020-03-05"],
    ),
    "repeated lines are counted": (
        {f"2006-01-0{n}-a.md": f"{build_sentences(20 + n)}\n\n{FOOTER}\n" for n in range(1, 7)},
        9,
        {},
        [
            "left out of 6 posts: 60 words in lines that repeat across posts: "
            "“Ann builds clocks in Bern, and she sells them there.” (6)"
        ],
    ),
    "a post that breaks a claim is named": (
        {"2007-01-01-menu.md": f"{build_sentences(8)} {MENU} {build_sentences(9)}"},
        3,
        {"breaks_no_platform_boilerplate_left": 1},
        [
            "boilerplate left (_posts/2007-01-01-menu.md); remove the platform's menu",
            "warning: 25% of the usable posts (1) violate a claim; an import stops above 20% "
            "(TWIN_MOST_QUARANTINED)",
        ],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_found_is_kept_or_explained(case: str, posts: Path, home: Settings) -> None:
    files, kept, dropped, sentences = CASES[case]
    for name, text in files.items():
        body = text if isinstance(text, bytes) else text.encode()
        (posts / "_posts" / name).write_bytes(body)
    result = preview_posts(home, posts, name="José")
    assert (result.found, result.kept) == (5 + len(files), kept)
    assert result.dropped == {"too_short": 1, "not_utf8": 1} | dropped
    text = render_preview(result)
    for sentence in sentences:
        assert sentence in text


def test_every_reason_to_drop_a_file_has_advice() -> None:
    """The reasons are collected from the source of the modules that give them."""
    reasons = {"duplicate", "near_duplicate", "foreign_byline", "too_short", "no_text", "draft"}
    reasons |= {"list_of_posts", "only_boilerplate"}
    reasons |= {f"breaks_{claim}" for claim in CLAIMS}
    for module in ("posts", "post_head", "conversations", "visibility_rules"):
        source = Path(raw_posts_import.__file__).parent / "importers" / f"{module}.py"
        pattern = r'(?:PostError\(|return |\), \()"([a-z_0-9]+)"'
        reasons |= set(re.findall(pattern, source.read_text()))
    assert {"too_large", "empty", "chat", "mail", "not_published", "expired"} <= reasons
    assert reasons - set(ADVICE_BY_REASON) == set()


def test_each_stage_says_how_far_it_is(posts: Path, home: Settings) -> None:
    calls: list[tuple[str, int, int]] = []
    with open_preview_tables(home) as tables:
        preview(
            Author("jose", "José", sources=(str(posts),)),
            tables,
            home,
            on_progress=lambda stage, done, total: calls.append((stage, done, total)),
        )
    totals = {"reading posts": 5, "cleaning posts": 5, "comparing posts": 3, "checking posts": 5}
    assert calls == [
        ("listing posts", 0, 0),
        *((stage, done, total) for stage, total in totals.items() for done in range(total)),
        ("choosing questions", 0, 0),
    ]


def test_skipping_more_text_than_is_read_fails(posts: Path, home: Settings) -> None:
    for number in range(4):
        (posts / f"page-{number}.md").write_text(build_sentences(number))
    result = preview_posts(home, posts, name="José")
    assert (result.unread, result.mostly_unread, preview_exit_code(result)) == (4, False, 0)
    for number in range(4, 9):
        (posts / f"a {number}.tex").write_text(build_sentences(number))
        (posts / f"picture {number}.png").write_bytes(b"a picture holds no text")
    result = preview_posts(home, posts, name="José")
    assert (result.unread, result.mostly_unread, preview_exit_code(result)) == (9, True, 3)
    warning = "9 files with text are skipped, and only 4 posts can be read"
    assert any(warning in line for line in result.warnings)


def test_templates_are_not_posts(tmp_path: Path, home: Settings) -> None:
    for number in range(3):
        (tmp_path / f"{number}.md").write_text(build_sentences(number))
    (tmp_path / "base.html").write_text("{% extends 'x' %}<p>Words {{ title }}</p>")
    (tmp_path / "daily.md").write_text("# <% tp.date.now() %>\n\nWords to be written.\n")
    (tmp_path / "new.md").write_text("---\ntitle: {{ title }}\ndate: {{ date }}\n---\nWords.\n")
    (tmp_path / "about.html").write_text(
        "<p>Write <code>{% extends %}</code>.</p>" + build_sentences(7)
    )
    (tmp_path / "Templates").mkdir()
    (tmp_path / "Templates" / "a.md").write_text("Words that come each day.\n")
    result = preview_posts(home, tmp_path, name="José")
    assert (result.kept, result.dropped, result.skipped) == (4, {"template": 3}, {"template": 1})
    assert result.named["template"] == ["base.html", "daily.md", "new.md"]


def test_posts_in_another_language_use_the_multilingual_embedder_by_default(
    tmp_path: Path, home: Settings
) -> None:
    folder = tmp_path / "beiträge"
    folder.mkdir()
    for n, sentence in enumerate(
        (
            "Die alte Uhr in der Werkstatt ist stehen geblieben, und niemand weiß warum.",
            "Unser Boot liegt seit dem Winter am Ufer und wartet auf einen neuen Anstrich.",
            "Im Garten hinter dem Haus wachsen Äpfel, die kein Mensch mehr pflücken will.",
        )
    ):
        (folder / f"{n}.md").write_text(f"# Die Uhr {n}\n\n{sentence} Nummer {n}.\n")
    result = preview_posts(home, folder, name="Ada")
    assert (result.embedder, result.warnings) == ("multilingual-e5-small", [])
    minilm = home.model_copy(update={"embedder": home.embedder})
    result = preview_posts(minilm, folder, name="Ada")
    assert result.embedder == home.embedder
    [warning] = result.warnings
    assert "all-minilm-l6-v2 supports only en" in warning
    assert "de 3" in warning
    multilingual = home.model_copy(update={"embedder": "intfloat/multilingual-e5-small"})
    assert preview_posts(multilingual, folder, name="Ada").warnings == []


def test_the_preview_of_bylines_agrees_with_cleaning(posts: Path, home: Settings) -> None:
    """Posts under another full name are left out with advice; a frequent handle is adopted."""
    folder = posts / "_posts"
    for path in folder.glob("200[123]*.md"):
        path.write_text(path.read_text().replace("---\n", "---\nauthor: Grace Hopper\n", 1))
    foreign = preview_posts(home, posts, name="José")
    assert (foreign.kept, foreign.dropped["foreign_byline"]) == (0, 3)
    assert foreign.unclaimed == foreign.bylines == {"Grace Hopper": 3}
    assert (
        "3 of 5 posts are excluded because somebody other than José signed them"
        in foreign.warnings[0]
    )
    assert 'add aliases = ["Grace Hopper"] to authors/jose.toml' in foreign.warnings[1]
    assert "no post can be used" in foreign.warnings[2]
    assert (foreign.questions, preview_exit_code(foreign)) == ([], 3)
    claimed = preview_posts(home, posts, name="José", aliases=("Grace Hopper",))
    assert (claimed.kept, claimed.unclaimed, claimed.warnings) == (3, {}, [])
    for path in folder.glob("200[123]*.md"):
        path.write_text(path.read_text().replace("Grace Hopper", "clocksmith"))
    handle = preview_posts(home, posts, name="José")
    assert (handle.kept, handle.unclaimed) == (3, {})
    assert handle.warnings == [
        "3 of 5 posts are signed clocksmith, which is taken to be José's handle because it "
        "appears on most posts of its source"
    ]


@pytest.mark.parametrize("name", ["missing", "empty folder", "export.zip"])
def test_unusable_input_is_rejected_with_advice(name: str, tmp_path: Path, home: Settings) -> None:
    (tmp_path / "empty folder").mkdir()
    (tmp_path / "export.zip").write_bytes(b"PK\x05\x06" + b"\0" * 18)
    with pytest.raises(TwinError) as excinfo:
        preview_posts(home, tmp_path / name, name="A")
    assert name in str(excinfo.value)
    assert excinfo.value.next_step


def test_the_tables_of_a_killed_preview_are_removed_by_the_next(home: Settings) -> None:
    with open_preview_tables(home) as running:
        abandoned = home.host_dir / ".preview-abandoned"
        abandoned.mkdir()
        (abandoned / "state.sqlite").touch()
        with open_preview_tables(home):
            assert not abandoned.exists()
            assert Path(running.base_uri).exists()


HEAVY_MODULES = ("dagster", "torch", "transformers", "lancedb", "openvino", "litellm")


@pytest.mark.long
def test_the_preview_imports_no_heavy_module(posts: Path, home: Settings) -> None:
    program = (
        "import sys\nfrom tests.previews import preview_posts\n"
        "from twin_resources.settings import load_settings\n"
        f"preview_posts(load_settings({str(home.home)!r}), {str(posts)!r}, name='José')\n"
        f"loaded = [name for name in {HEAVY_MODULES!r} if name in sys.modules]\n"
        "sys.exit(f'loaded {loaded}' if loaded else 0)"
    )
    completed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert completed.returncode == 0, completed.stderr


@pytest.mark.long
def test_the_shared_notes_are_all_usable(shared_posts: Path, home: Settings) -> None:
    result = preview_posts(home, shared_posts / "jbranchaud-til", name="Josh Branchaud")
    assert (result.found, result.kept, result.dated) == (1871, 1871, 0)
    assert result.dropped == {}
    assert result.words > 240_000
    assert result.languages == {"en": 1871}
    assert 12 <= len(result.questions) <= 15


@pytest.mark.parametrize("name", EXPORTS)
def test_an_export_is_counted_with_dates_and_every_reason(
    name: str, tmp_path: Path, home: Settings
) -> None:
    export = write_zip(EXPORTS[name], tmp_path / "export.zip")
    result = preview_posts(home, export, name="")
    assert result.layouts == [name]
    assert result.found == RECORD_COUNTS[name] + sum(SKIP_COUNTS[name].values())
    assert result.found == result.kept + sum(result.dropped.values())
    assert result.dropped.items() >= SKIP_COUNTS[name].items()
    assert result.dates
    assert result.words > 0
