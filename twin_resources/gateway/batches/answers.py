"""Write the answers of a batch to a journal while it runs, then to a JSON Lines file.

Scope: the columns of a row, the rows of earlier runs, and the atomic output file.
Out of scope: calling the gateway (`batch_run.py`), reading questions (`questions.py`).

Each answer is appended to `<out>.partial.jsonl` when it arrives, so a killed batch loses only the
requests in progress. Only the last line of a journal may be incomplete.
A lock on the journal, released when its process ends, allows only one process at a time to run a
batch.
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
from twin_resources.gateway.batches.questions import check_file_type

AnswerRow = Mapping[str, Any]
"""A row with the columns `id`, `question`, `answer`, `error` (empty if answered), `kind`,
`model`, `version`, `route`, `cost_usd`, `degraded`, `trace_id`, `seconds`, `sources` (each with
`document_id`, `title`, `url`), `quotes` (also with `text`, `start`, `end`) and `fingerprint`."""

SOURCE_FIELDS = ("document_id", "title", "url")
QUOTE_FIELDS = ("text", *SOURCE_FIELDS, "start", "end")


def check_output_path(path: Path) -> None:
    """Check the name and the folder of the output file.

    Raises:
        TwinError: the name does not end in `.jsonl`, or the folder does not exist.
    """
    action = f"write the answers to {path}"
    check_file_type(path, action)
    if not path.parent.is_dir():
        raise TwinError(action, found=f"{path.parent} does not exist", next_step="create it")


def journal_path(output: Path) -> Path:
    """Return the path of the journal, which stores the answers until the batch is complete."""
    return output.with_name(f"{output.name}.partial.jsonl")


class Journal:
    """The answers of this run and of earlier runs of a batch.

    Args:
        output: the output file. Its rows count as answered too, so running a finished batch again
            sends no request.

    Raises:
        TwinError: a complete line of the journal or `output` cannot be read, or another process is
            working on this batch.
    """

    def __init__(self, output: Path) -> None:
        self.output = output
        self.path = journal_path(output)
        self._file: IO[bytes] = _open_and_lock(self.path)
        try:
            earlier_rows = _read_earlier_rows(output)
            complete_size, journal_rows = _read_journal(self.path)
        except BaseException:
            self.close()
            raise
        rows = (*earlier_rows, *journal_rows)
        self._rows = {row["fingerprint"]: row for row in rows if not row.get("error")}
        self._file.truncate(complete_size)  # the next row must not continue an incomplete line

    def __contains__(self, fingerprint: str) -> bool:
        """Return whether an earlier run answered a request; one with an error is sent again."""
        return fingerprint in self._rows

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

    def finish(self, fingerprints: Iterable[str]) -> None:
        """Write `output` atomically, in the order of the questions, and delete the journal."""
        rows = (self._rows[fingerprint] for fingerprint in fingerprints)
        temporary_path = self.output.with_name(f"{self.output.name}.{os.getpid()}.new")
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        temporary_path.write_text("".join(lines), encoding="utf-8")
        temporary_path.replace(self.output)
        self.path.unlink()
        self._file.close()


def _open_and_lock(path: Path) -> IO[bytes]:
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
        file.close()  # another process finished the batch and deleted this file


def _read_earlier_rows(output: Path) -> Sequence[AnswerRow]:
    if not output.is_file():
        return ()
    action = f"resume the batch of {output}"
    advice = "pass a different --out, or delete that file"
    rows = _parse_rows(output.read_bytes().splitlines(), action, advice)
    if any("fingerprint" not in row for row in rows):
        raise TwinError(action, found="the file was not written by a batch", next_step=advice)
    return rows


def _read_journal(path: Path) -> tuple[int, list[AnswerRow]]:
    """Return the size of the complete lines in bytes, and their rows."""
    content = path.read_bytes()
    complete_size = content.rfind(b"\n") + 1
    action, advice = f"resume the batch of {path}", "delete that file; its answers will be lost"
    return complete_size, _parse_rows(content[:complete_size].splitlines(), action, advice)


def _parse_rows(lines: Sequence[bytes], action: str, advice: str) -> list[AnswerRow]:
    rows: list[AnswerRow] = []
    for number, line in enumerate(lines, start=1):
        try:
            row: Any = json.loads(line)
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise TwinError(action, found=f"line {number}: {error}", next_step=advice) from error
        if not isinstance(row, dict):
            raise TwinError(action, found=f"line {number} is not an object", next_step=advice)
        rows.append(cast(AnswerRow, row))
    return rows
