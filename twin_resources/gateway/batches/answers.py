"""Write the answers of a batch to a journal while it runs, then to JSON Lines or Parquet.

Scope: the columns of a row, the rows kept from earlier runs, and the atomic output file.
Out of scope: calling the gateway (`completing.py`), reading questions (`questions.py`).

Each answer is appended to `<out>.partial.jsonl` when it arrives, so a killed batch loses only the
requests in progress. The last line of a journal may be incomplete; every other line must be whole.
A lock on the journal, which ends with its process, ensures that only one process at a time works on
a batch.
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
from twin_resources.gateway.batches.questions import LINES_SUFFIXES, TABLE_SUFFIX

AnswerRow = Mapping[str, Any]
"""A row: `id`, `question`, `answer`, `error` (empty if answered), `kind`, `model`, `version`,
`route`, `cost_usd`, `degraded`, `trace_id`, `seconds`, `sources` (each with `document_id`, `title`,
`url`), `quotes` (also with `text`, `start`, `end`), `fingerprint` of the request."""

SOURCE_FIELDS = ("document_id", "title", "url")
QUOTE_FIELDS = ("text", *SOURCE_FIELDS, "start", "end")


def check_output_path(path: Path) -> None:
    """Check the name and the folder of the output file.

    Raises:
        TwinError: the suffix belongs to neither format, or the folder does not exist.
    """
    tried = f"write the answers to {path}"
    if path.suffix.lower() not in (*LINES_SUFFIXES, TABLE_SUFFIX):
        raise TwinError(
            tried,
            found=f"a file of type {path.suffix or 'unknown'}",
            next_step="use a name that ends in .jsonl or .parquet",
        )
    if not path.parent.is_dir():
        raise TwinError(tried, found=f"no folder {path.parent}", next_step="create the folder")


def journal_path(out: Path) -> Path:
    """Return the path of the journal, which holds the answers until the batch is complete."""
    return out.with_name(f"{out.name}.partial.jsonl")


class Journal:
    """Answers of this and earlier runs of a batch.

    Args:
        out: the output file. Its rows count as answered too, so running a finished batch again
            sends no request.

    Raises:
        TwinError: a whole line of the journal or `out` cannot be read, or another process works on
            this batch.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.path = journal_path(out)
        self._file: IO[bytes] = _open_locked(self.path)
        try:
            self._rows = {
                row["fingerprint"]: row for row in _read_earlier_rows(out) if not row.get("error")
            }
            whole, journaled = _read_journal(self.path)
        except BaseException:
            self.close()
            raise
        self._rows |= {row["fingerprint"]: row for row in journaled if not row.get("error")}
        self._file.truncate(whole)  # the next row must not continue an incomplete line

    def __contains__(self, fingerprint: str) -> bool:
        """Return whether a request was answered; one that ended in an error is sent again."""
        return fingerprint in self._rows and not self._rows[fingerprint].get("error")

    def __getitem__(self, fingerprint: str) -> AnswerRow:
        return self._rows[fingerprint]

    def append(self, row: AnswerRow) -> None:
        """Append an answer and flush it to the operating system."""
        self._rows[row["fingerprint"]] = row
        self._file.write((json.dumps(row, ensure_ascii=False) + "\n").encode())
        self._file.flush()

    def close(self) -> None:
        """Close the journal, and delete it if it is empty."""
        if self._file.closed:
            return
        if not self.path.stat().st_size:
            self.path.unlink()
        self._file.close()

    def finish(self, fingerprints: Iterable[str]) -> Sequence[AnswerRow]:
        """Write `out` in the order of the questions, and delete the journal."""
        rows = [
            self._rows[fingerprint] for fingerprint in fingerprints if fingerprint in self._rows
        ]
        write_answers(self.out, rows)
        self.path.unlink()
        self._file.close()
        return rows


def _open_locked(path: Path) -> IO[bytes]:
    """Open and lock the journal.

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
                f"resume the batch of {path}",
                found="another command is working on it",
                next_step="wait for that command to end, then run this one again; no question is "
                "asked twice",
            ) from error
        file.close()  # a batch that has just ended deleted this file


def write_answers(out: Path, rows: Sequence[AnswerRow]) -> None:
    """Write all rows atomically as Parquet or JSON Lines, according to the suffix of the file."""
    new = out.with_name(f"{out.name}.{os.getpid()}.new")
    if out.suffix.lower() == TABLE_SUFFIX:
        import polars as pl

        pl.DataFrame([dict(row) for row in rows], schema=_columns()).write_parquet(new)
    else:
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        new.write_text("".join(lines), encoding="utf-8")
    new.replace(out)


def _columns() -> dict[str, Any]:
    import polars as pl

    text = ("id", "question", "answer", "error", "kind", "model", "version", "route")
    source = {name: pl.String() for name in SOURCE_FIELDS}
    quote = {"text": pl.String()} | source | {"start": pl.Int64(), "end": pl.Int64()}
    return dict.fromkeys(text, pl.String()) | {
        "cost_usd": pl.Float64(),
        "degraded": pl.String(),
        "trace_id": pl.String(),
        "seconds": pl.Float64(),
        "sources": pl.List(pl.Struct(source)),
        "quotes": pl.List(pl.Struct(quote)),
        "fingerprint": pl.String(),
    }


def _read_earlier_rows(out: Path) -> Iterable[AnswerRow]:
    if not out.is_file():
        return []
    tried = f"resume the batch of {out}"
    advice = "pass a different --out, or delete that file"
    if out.suffix.lower() == TABLE_SUFFIX:
        import polars as pl

        try:
            rows = pl.read_parquet(out).to_dicts()
        except pl.exceptions.PolarsError as error:
            raise TwinError(tried, found=str(error), next_step=advice) from error
    else:
        rows = _parse_rows(out.read_bytes().splitlines(), tried, advice)
    if any("fingerprint" not in row for row in rows):
        raise TwinError(tried, found="a file that no batch wrote", next_step=advice)
    return rows


def _read_journal(path: Path) -> tuple[int, list[AnswerRow]]:
    """Return the number of bytes in whole lines, and their rows."""
    if not path.is_file():
        return 0, []
    content = path.read_bytes()
    complete_bytes = content.rfind(b"\n") + 1
    tried, advice = f"resume the batch of {path}", "delete that file; its answers are lost"
    return complete_bytes, _parse_rows(content[:complete_bytes].splitlines(), tried, advice)


def _parse_rows(lines: Sequence[bytes], tried: str, advice: str) -> list[AnswerRow]:
    rows: list[AnswerRow] = []
    for number, line in enumerate(lines, start=1):
        try:
            row: Any = json.loads(line)
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise TwinError(tried, found=f"line {number}: {error}", next_step=advice) from error
        if not isinstance(row, dict):
            raise TwinError(tried, found=f"line {number} is not an object", next_step=advice)
        rows.append(cast(AnswerRow, row))
    return rows
