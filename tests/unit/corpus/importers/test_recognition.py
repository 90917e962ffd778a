"""Which importer reads a source, and what is refused: as it was recorded, and by the recipe."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from tests.recipes import of_recipe
from tests.unit.corpus.importers.marked_exports import EXPORTS, SECRET, Export, Piece, words
from tests.unit.corpus.importers.mutations import write_folder
from tests.unit.corpus.importers.reading import found_in
from tests.unit.corpus.importers.recorded_verdicts import recorded, verdict, verdicts
from tests.unit.corpus.importers.test_damaged_exports import READ
from twin_assets.corpus.importers import recognition
from twin_assets.corpus.sources import find_sources
from twin_resources.errors import TwinError


def test_each_source_gets_the_verdict_that_was_recorded() -> None:
    """A change that is meant is recorded again: `recorded_verdicts.py` says how."""
    now, before = verdicts(), recorded()
    assert len(now) > 1_300
    assert {name: said for name, said in now.items() if before.get(name) != said} == {}
    assert before.keys() == now.keys()


@pytest.mark.parametrize(
    ("files", "title"),
    [
        ({"_chat.txt": "[12/03/20, 10:11:12] Ana: hello\n", "a.jpg": ""}, "WhatsApp chat"),
        ({"WhatsApp Chat with Bob.txt": "12/03/2020, 10:11 - Ana: hello\n"}, "WhatsApp chat"),
        ({"messages.html": "<html></html>", "css/style.css": ""}, "Telegram chat"),
    ],
)
def test_a_chat_is_refused_by_its_name(files: dict[str, str], title: str, tmp_path: Path) -> None:
    packed = tmp_path / "download.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    folder = write_folder({name: text.encode() for name, text in files.items()}, tmp_path / "f")
    for source in (packed, folder):
        with pytest.raises(TwinError, match=title) as caught:
            find_sources([source], include=frozenset())
        assert "copy the author's words" in caught.value.next_step


def written_freely() -> Export:
    pieces = [Piece(b"[")]
    for number in range(6):
        mark = f"wfpost{number}x" if number else ""
        row = {
            "id": f"wf{number:06}",
            "slug": f"clocks-{number}",
            "appearance": "norm",
            "language": "en",
            "created": "2020-01-02T03:04:05Z",
            "title": f"On clocks {number}",
            "body": words(mark) if mark else f"{SECRET} words",
            "tags": ["clocks"],
            "collection": {"alias": "ada", "public": bool(mark)},
        }
        pieces += [Piece(b",\n")] if number else []
        pieces.append(Piece(json.dumps(row).encode(), mark, str(row["id"])))
    return {"ada-posts.json": [*pieces, Piece(b"]")]}


def test_the_recipe_for_an_importer_adds_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The code of deploy/docs/contributing.md in a folder of its own, and its line in the tuple."""
    body = b"".join(piece.body for piece in written_freely()["ada-posts.json"])
    source = write_folder({"download": body}, tmp_path) / "download"
    beheaded = write_folder({"download": body[2:]}, tmp_path / "beheaded") / "download"
    assert verdict(source) == verdict(beheaded) == "nobody; no objection"

    added = of_recipe("An importer", tmp_path / "writefreely.py").IMPORTER
    monkeypatch.setattr(recognition, "IMPORTERS", (*recognition.IMPORTERS, added))
    assert verdicts() == recorded(), "no other source is touched"

    read = find_sources([source], include=frozenset()).exports["writefreely"].read()
    assert (len(read), dict(read.excluded)) == (5, {"private": 1})
    first = found_in(source, added).records["wf000001"]
    assert (first.title, first.tags, first.visibility) == ("On clocks 1", ("clocks",), "public")
    refused = "nobody; no readable post in the WriteFreely export;"
    assert verdict(beheaded).startswith(refused)
    monkeypatch.setitem(EXPORTS, "writefreely", written_freely)
    damaged, *_ = READ["ghost"]
    assert [wrong for seed in range(40) for wrong in damaged("writefreely", seed, tmp_path)] == []
