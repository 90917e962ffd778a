"""The file of a batch's answers: a journal while it runs, JSON Lines or Parquet at its end.

Scope: a row's columns, what is kept of an earlier run, and one atomic file at the end.
Out of scope: asking (`completing.py`), reading questions (`questions.py`).

Each answer is appended to `<out>.partial.jsonl` as it comes, so that a batch that was killed has
lost only what was on its way. The last line of a journal may be torn; any other must be whole. One
process at a time works on a batch: a lock on its journal says which, and ends with it.
"""
# pyright: strict

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, cast

from twin_resources.errors import TwinError
from twin_resources.gateway.batches.questions import LINES, TABLE

Answered = Mapping[str, Any]
"""A row: `id`, `question`, `answer`, `error` (empty: answered), `kind`, `model`, `version`,
`route`, `cost_usd`, `degraded`, `trace_id`, `seconds`, `sources` (`document_id`, `title`, `url`
each), `quotes` (with `text`, `start`, `end`), `fingerprint` of the request."""

PLACE = ("document_id", "title", "url")
QUOTED = ("text", *PLACE, "start", "end")


def check_out(path: Path) -> None:
    """Raises:
    TwinError: neither format by its name, or no folder to write into.
    """
    tried = f"write the answers to {path}"
    if path.suffix.lower() not in (*LINES, TABLE):
        raise TwinError(
            tried,
            found=f"a file of kind {path.suffix or 'unknown'}",
            next_step="let the name end in .jsonl or .parquet",
        )
    if not path.parent.is_dir():
        raise TwinError(tried, found=f"no folder {path.parent}", next_step="make it")


def journal_of(out: Path) -> Path:
    """Where answers stand until all are there."""
    return out.with_name(f"{out.name}.partial.jsonl")


class Journal:
    """Answers of this and earlier runs of a batch.

    Args:
        out: the file that they are for; its own rows count as well, so that a batch that is
            finished asks nothing when it is run again.

    Raises:
        TwinError: a whole line of the journal or `out` cannot be read, or another process works on
            this batch.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.path = journal_of(out)
        self._file: IO[bytes] = _held(self.path)
        try:
            self._rows = {row["fingerprint"]: row for row in _earlier(out) if not row.get("error")}
            whole, journaled = _journaled(self.path)
        except BaseException:
            self.close()
            raise
        self._rows |= {row["fingerprint"]: row for row in journaled if not row.get("error")}
        self._file.truncate(whole)  # a torn line would spoil the next one

    def __contains__(self, fingerprint: str) -> bool:
        """Whether that request was answered; one that ended in an error is asked again."""
        return fingerprint in self._rows and not self._rows[fingerprint].get("error")

    def __getitem__(self, fingerprint: str) -> Answered:
        return self._rows[fingerprint]

    def append(self, row: Answered) -> None:
        """Keep an answer; it is with the system when this returns."""
        self._rows[row["fingerprint"]] = row
        self._file.write((json.dumps(row, ensure_ascii=False) + "\n").encode())
        self._file.flush()

    def close(self) -> None:
        """What was appended stays; an empty journal goes."""
        if self._file.closed:
            return
        if not self.path.stat().st_size:
            self.path.unlink()
        self._file.close()

    def finish(self, fingerprints: Iterable[str]) -> Sequence[Answered]:
        """Write `out`, in the order of the questions, and drop the journal."""
        rows = [
            self._rows[fingerprint] for fingerprint in fingerprints if fingerprint in self._rows
        ]
        write_answers(self.out, rows)
        self.path.unlink()
        self._file.close()
        return rows


def _held(path: Path) -> IO[bytes]:
    """The journal, open and locked.

    Raises:
        TwinError: another process has locked it.
    """
    while True:
        file = path.open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(file.fileno()).st_nlink:
                return file
        except BlockingIOError as error:
            file.close()
            raise TwinError(
                f"go on with the batch of {path}",
                found="another command that works on it",
                next_step="wait for that one; run the same again, and nothing is asked twice",
            ) from error
        file.close()  # of a batch that has just ended, which removed it


def write_answers(out: Path, rows: Sequence[Answered]) -> None:
    """Write all of them in one move: JSON Lines, or Parquet by the file's name."""
    made = out.with_name(f"{out.name}.{os.getpid()}.new")
    if out.suffix.lower() == TABLE:
        import polars as pl

        pl.DataFrame([dict(row) for row in rows], schema=_columns()).write_parquet(made)
    else:
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        made.write_text("".join(lines), encoding="utf-8")
    made.replace(out)


def _columns() -> dict[str, Any]:
    import polars as pl

    text = ("id", "question", "answer", "error", "kind", "model", "version", "route")
    place = {name: pl.String() for name in PLACE}
    quoted = {"text": pl.String()} | place | {"start": pl.Int64(), "end": pl.Int64()}
    return dict.fromkeys(text, pl.String()) | {
        "cost_usd": pl.Float64(),
        "degraded": pl.String(),
        "trace_id": pl.String(),
        "seconds": pl.Float64(),
        "sources": pl.List(pl.Struct(place)),
        "quotes": pl.List(pl.Struct(quoted)),
        "fingerprint": pl.String(),
    }


def _earlier(out: Path) -> Iterable[Answered]:
    if not out.is_file():
        return []
    tried = f"go on with the batch of {out}"
    advice = "name another --out, or remove that file"
    if out.suffix.lower() == TABLE:
        import polars as pl

        try:
            rows = pl.read_parquet(out).to_dicts()
        except pl.exceptions.PolarsError as error:
            raise TwinError(tried, found=str(error), next_step=advice) from error
    else:
        rows = _parsed(out.read_bytes().splitlines(), tried, advice)
    if any("fingerprint" not in row for row in rows):
        raise TwinError(tried, found="a file of something else", next_step=advice)
    return rows


def _journaled(path: Path) -> tuple[int, list[Answered]]:
    """Bytes of whole lines, and what they hold."""
    if not path.is_file():
        return 0, []
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    tried, advice = f"go on with the batch of {path}", "remove that file, and its answers with it"
    return whole, _parsed(content[:whole].splitlines(), tried, advice)


def _parsed(lines: Sequence[bytes], tried: str, advice: str) -> list[Answered]:
    rows: list[Answered] = []
    for number, line in enumerate(lines, start=1):
        try:
            row: Any = json.loads(line)
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise TwinError(tried, found=f"line {number}: {error}", next_step=advice) from error
        if not isinstance(row, dict):
            raise TwinError(tried, found=f"line {number} is no object", next_step=advice)
        rows.append(cast(Answered, row))
    return rows
