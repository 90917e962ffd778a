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

from tests.unit.corpus.export_files import write_zip
from tests.unit.corpus.sample_exports import EXPORTS, RECORD_COUNTS, SKIP_COUNTS
from twin_assets.corpus import raw_posts_import
from twin_assets.corpus.corpus_tables import RawPosts, column_types
from twin_assets.corpus.document_claims import CLAIMS
from twin_assets.corpus.inventory import take_inventory
from twin_assets.corpus.preview import Preview, preview
from twin_assets.corpus.remediation import ADVICE_BY_REASON
from twin_resources.authors import Author, write_author
from twin_resources.errors import TwinError
from twin_resources.settings import Settings
from twin_resources.storage.state.home_state import open_home_state
from twin_resources.storage.tables.tables import Tables

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


def test_old_encodings_are_converted_and_counted(posts: Path, home: Settings) -> None:
    text = f"---\ntitle: Über Größe\n---\n\nEin schöner Tag für die Mühle. {build_sentences(7)}\n"
    (posts / "_posts" / "2005-01-01-old.md").write_bytes(text.encode("cp1252"))
    result = preview([posts], author="José", settings=home)
    assert (result.kept, result.converted) == (4, {"windows-1252": 1})
    assert "converted 1 post from windows-1252 to UTF-8" in render_preview(result)


def test_a_dropped_file_is_named_with_advice(posts: Path, home: Settings) -> None:
    for number in range(4):
        (posts / "_posts" / f"2006-01-0{number + 1}-short.md").write_text("Too short.")
    result = preview([posts], author="José", settings=home)
    assert result.named["not_utf8"] == ["_posts/2004-01-02-latin.md"]
    assert result.named["too_short"][-1] == "2 more"
    assert len(result.named["too_short"]) == 4
    text = render_preview(result)
    assert "dropped 1: not utf8 (_posts/2004-01-02-latin.md); save it as UTF-8" in text


def test_every_reason_to_drop_a_file_has_advice() -> None:
    """The reasons are collected from the source of the modules that give them."""
    reasons = {"duplicate", "near_duplicate", "foreign_byline", "too_short", "no_text", "draft"}
    reasons |= {f"breaks_{claim}" for claim in CLAIMS}
    for module in ("posts", "post_head", "conversations", "visibility_rules"):
        source = Path(raw_posts_import.__file__).parent / "importers" / f"{module}.py"
        pattern = r'(?:PostError\(|return |\), \()"([a-z_0-9]+)"'
        reasons |= set(re.findall(pattern, source.read_text()))
    assert {"too_large", "empty", "chat", "mail", "not_published", "expired"} <= reasons
    assert reasons - set(ADVICE_BY_REASON) == set()


def test_hidden_posts_are_counted_and_named(posts: Path, home: Settings) -> None:
    for name, line in (("a", "private: true"), ("b", "status: Draft"), ("c", "keep_secret: yes")):
        text = f"---\n{line}\n---\n{build_sentences(4)}\n"
        (posts / "_posts" / f"2007-01-01-{name}.md").write_text(text)
    result = preview([posts], author="José", settings=home)
    assert (result.kept, result.found) == (3, 8)
    assert result.named["private"] == ["_posts/2007-01-01-a.md", "_posts/2007-01-01-c.md"]
    assert result.named["draft"] == ["_posts/2007-01-01-b.md"]
    text = render_preview(result)
    assert "dropped 2: private (_posts/2007-01-01-a.md, _posts/2007-01-01-c.md); add --incl" in text


def test_each_stage_says_how_far_it_is(posts: Path, home: Settings) -> None:
    calls: list[tuple[str, int, int]] = []
    preview(
        [posts],
        author="José",
        settings=home,
        on_progress=lambda stage, done, total: calls.append((stage, done, total)),
    )
    assert calls == [
        (stage, done, 5) for stage in ("reading posts", "cleaning posts") for done in range(5)
    ]


def test_ambiguous_dates_are_reported(posts: Path, home: Settings) -> None:
    text = f"---\ndate: 03/05/2007\n---\n{build_sentences(4)}\n"
    (posts / "_posts" / "2007-01-01-a.md").write_text(text)
    result = preview([posts], author="José", settings=home)
    [warning] = [warning for warning in result.warnings if "an ambiguous date" in warning]
    assert "1 post with an ambiguous date" in warning
    assert "_posts/2007-01-01-a.md" in warning


def test_skipping_more_text_than_is_read_fails(posts: Path, home: Settings) -> None:
    for number in range(4):
        (posts / f"page-{number}.md").write_text(build_sentences(number))
    result = preview([posts], author="José", settings=home)
    assert (result.unread, result.mostly_unread, preview_exit_code(result)) == (4, False, 0)
    for number in range(4, 9):
        (posts / f"a {number}.tex").write_text(build_sentences(number))
        (posts / f"picture {number}.png").write_bytes(b"a picture holds no text")
    result = preview([posts], author="José", settings=home)
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
    result = preview([tmp_path], author="José", settings=home)
    assert result.kept == 4
    assert result.dropped == {"template": 3}
    assert result.named["template"] == ["base.html", "daily.md", "new.md"]
    assert result.skipped == {"template": 1}


def test_the_preview_counts_posts_and_words(posts: Path, home: Settings) -> None:
    result = preview([posts], author="José", settings=home)
    assert (result.found, result.kept) == (5, 3)
    assert result.dropped == {"too_short": 1, "not_utf8": 1}
    assert result.found == result.kept + sum(result.dropped.values())
    assert result.skipped == {"about the folder (README, LICENSE …)": 1}
    assert result.accepted.dates == ["2001-01-01T00:00:00+00:00", "2003-01-01T00:00:00+00:00"]
    assert result.accepted.languages == {"en": 3}
    assert set(result.accepted.titles) == {"How to mend a clock", "Why do lamps go out?", "Notes"}
    assert "How do I mend a clock?" in result.accepted.questions
    assert result.warnings == []
    assert result.changes is None
    assert list(home.home.iterdir()) == []  # Nothing was written.
    text = render_preview(result)
    for part in ("5 posts found, 3 usable", "dropped 1: not utf8", "2001-01-01 to 2003-01-01"):
        assert part in text


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
    result = preview([folder], author="Ada", settings=home)
    assert (result.embedder, result.warnings) == ("multilingual-e5-small", [])
    minilm = home.model_copy(update={"embedder": home.embedder})
    result = preview([folder], author="Ada", settings=minilm)
    assert result.embedder == home.embedder
    [warning] = result.warnings
    assert "all-minilm-l6-v2 supports only en" in warning
    assert "de 3" in warning
    multilingual = home.model_copy(update={"embedder": "intfloat/multilingual-e5-small"})
    assert preview([folder], author="Ada", settings=multilingual).warnings == []


def test_the_preview_of_bylines_agrees_with_cleaning(posts: Path, home: Settings) -> None:
    """Posts under another full name are left out with advice; a frequent handle is adopted."""
    folder = posts / "_posts"
    for path in folder.glob("200[123]*.md"):
        path.write_text(path.read_text().replace("---\n", "---\nauthor: Grace Hopper\n", 1))
    foreign = preview([posts], author="José", settings=home)
    assert (foreign.kept, foreign.dropped["foreign_byline"]) == (0, 3)
    assert foreign.unclaimed == foreign.bylines == {"Grace Hopper": 3}
    assert (
        "3 of 5 posts are excluded because somebody other than José signed them"
        in foreign.warnings[0]
    )
    assert 'add aliases = ["Grace Hopper"] to authors/jose.toml' in foreign.warnings[1]
    claimed = preview([posts], author="José", settings=home, aliases=("Grace Hopper",))
    assert (claimed.kept, claimed.unclaimed, claimed.warnings) == (3, {}, [])
    for path in folder.glob("200[123]*.md"):
        path.write_text(path.read_text().replace("Grace Hopper", "clocksmith"))
    handle = preview([posts], author="José", settings=home)
    assert (handle.kept, handle.unclaimed) == (3, {})
    assert handle.warnings == [
        "3 of 5 posts are signed clocksmith, which is taken to be José's handle because it "
        "appears on most posts of its source"
    ]


def test_a_post_that_breaks_a_claim_is_counted_and_named(posts: Path, home: Settings) -> None:
    """The post contains a share menu in flat text, which cleaning does not remove."""
    menu = "Send this on Copy the link Facebook E-mail Mastodon Print"
    (posts / "_posts" / "2007-01-01-menu.md").write_text(
        f"{build_sentences(8)} {menu} {build_sentences(9)}"
    )
    result = preview([posts], author="José", settings=home)
    reason = "breaks_no_platform_boilerplate_left"
    assert (result.found, result.kept, result.dropped[reason]) == (6, 3, 1)
    assert result.named[reason] == ["_posts/2007-01-01-menu.md"]
    assert result.cures[reason].startswith("remove the platform's menu")
    assert result.found == result.kept + sum(result.dropped.values())
    [warning] = result.warnings
    assert "25% of the usable posts" in warning
    assert "TWIN_MOST_QUARANTINED" in warning
    larger = home.model_copy(update={"most_quarantined": 0.25})
    assert preview([posts], author="José", settings=larger).warnings == []


def test_changes_are_counted_against_the_stored_posts(posts: Path, home: Settings) -> None:
    write_author(home, Author("jose", "José", sources=(str(posts),)))
    inventory = take_inventory([posts])
    Tables(home.tables_base, state=open_home_state(home)).sync(
        raw_posts_import.build_inventory_frame(inventory),
        "raw_posts",
        author="jose",
        key="source_id",
        function=lambda rows: raw_posts_import.read_rows(rows, inventory),
        version=raw_posts_import.IMPORT_VERSION,
        schema=column_types(RawPosts),
        row_key="source_id",
    )
    folder = posts / "_posts"
    (folder / "2001-01-01-2001.md").unlink()
    (folder / "2002-01-01-2002.md").write_text(f"# Edited\n\n{build_sentences(0)}")
    (folder / "2006-01-01-new.md").write_text(f"# New\n\nNew! {build_sentences(6)}")
    result = preview([posts], author="José", settings=home)
    assert result.changes == {"added": 1, "edited": 1, "deleted": 1}
    assert result.found == 5


def test_the_json_document_contains_the_counts_and_questions(posts: Path, home: Settings) -> None:
    result = preview([posts], author="José", settings=home)
    document = json.loads(json.dumps(result.to_json_document()))
    assert document["author"] == "José"
    assert document["kept"] == 3
    assert len(document["questions"]) == 3


@pytest.mark.parametrize("name", ["missing", "empty folder", "export.zip"])
def test_unusable_input_is_rejected_with_advice(name: str, tmp_path: Path, home: Settings) -> None:
    (tmp_path / "empty folder").mkdir()
    (tmp_path / "export.zip").write_bytes(b"PK\x05\x06" + b"\0" * 18)
    with pytest.raises(TwinError) as excinfo:
        preview([tmp_path / name], author="A", settings=home)
    assert name in str(excinfo.value)
    assert excinfo.value.next_step


def test_a_preview_without_usable_posts_has_a_warning(tmp_path: Path, home: Settings) -> None:
    (tmp_path / "a.md").write_text("Short.")
    result = preview([tmp_path], author="A", settings=home)
    assert (result.found, result.kept, result.accepted.questions) == (1, 0, [])
    assert "no post can be used" in result.warnings[0]


HEAVY_MODULES = ("dagster", "torch", "transformers", "lancedb", "lance", "openvino", "litellm")


@pytest.mark.long
def test_the_preview_imports_no_heavy_module(posts: Path, home: Settings) -> None:
    program = (
        "import sys\nfrom twin_assets.corpus.preview import preview\n"
        "from twin_resources.settings import load_settings\n"
        f"preview([{str(posts)!r}], author='José', settings=load_settings())\n"
        f"loaded = [name for name in {HEAVY_MODULES!r} if name in sys.modules]\n"
        "sys.exit(f'loaded {loaded}' if loaded else 0)"
    )
    completed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert completed.returncode == 0, completed.stderr


@pytest.mark.long
def test_the_shared_notes_are_all_usable(shared_posts: Path, home: Settings) -> None:
    result = preview([shared_posts / "jbranchaud-til"], author="Josh Branchaud", settings=home)
    assert (result.found, result.kept, result.accepted.dated) == (1871, 1871, 0)
    assert result.dropped == {}
    assert result.accepted.words > 240_000
    assert result.accepted.languages == {"en": 1871}
    assert 12 <= len(result.accepted.questions) <= 15


@pytest.mark.parametrize("name", EXPORTS)
def test_an_export_is_counted_with_dates_and_every_reason(
    name: str, tmp_path: Path, home: Settings
) -> None:
    result = preview([write_zip(EXPORTS[name], tmp_path / "export.zip")], author="", settings=home)
    assert result.layouts == [name]
    assert result.found == RECORD_COUNTS[name] + sum(SKIP_COUNTS[name].values())
    assert result.found == result.kept + sum(result.dropped.values())
    assert result.dropped.items() >= SKIP_COUNTS[name].items()
    assert result.accepted.dates
    assert result.accepted.words > 0
