"""Import a git repository's own prose: the parts of README and docs that the author wrote.

Scope: deciding which tracked files are prose, and which of their blocks the author wrote.
Out of scope: calls to git (`git_blame`), folders of posts that are also git repositories
(`folders`: a Jekyll or Hugo site, or a repository that is mostly Markdown).

The author's lines are those with an address from `git config --get-all twin.email`, or else from
`user.email`. A block (paragraph, list item, table, fenced code) is kept only if the author wrote
every line of it. Kept blocks stay unchanged, including white space and code. Only HEAD counts, so a
missing path is a deletion.
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from twin_assets.corpus.importers import front_matter, git_blame
from twin_assets.corpus.importers.git_blame import BlamedLine, GitError, TreeFile
from twin_assets.corpus.importers.importer import Importer
from twin_assets.corpus.importers.members import Archive
from twin_assets.corpus.importers.post_dates import split_date_and_title
from twin_assets.corpus.importers.post_head import UnreadablePostError, read_post_head
from twin_assets.corpus.importers.posts import find_first_heading
from twin_assets.corpus.importers.record import ExportRecord, Skipped
from twin_assets.corpus.importers.site_layout import (
    find_site_folder,
    is_generated_site,
    is_repository_file,
)
from twin_assets.corpus.importers.suffixes import MAX_POST_BYTES
from twin_resources.errors import TwinError

NAME = "git"

_MAX_FILES = 200_000
_MAX_BLAMED_FILES = 2_000
"""Maximum number of blamed files (3 to 50 ms each); a repository with more prose is a site."""

_PROSE = re.compile(r"\.(md|markdown|mdx|rst|adoc|asciidoc|org|textile|dj|txt)$", re.IGNORECASE)
_MARKDOWN = re.compile(r"\.(?:md|markdown|mdx)$", re.IGNORECASE)
_BARE_NAME = re.compile(r"(?:README|CONTRIBUTING|HACKING|DESIGN|NEWS|FAQ|INSTALL)", re.IGNORECASE)
_LICENCE = re.compile(
    r"(?:un)?licen[cs]e|copying|notice|patents|code_of_conduct|cla|dco", re.IGNORECASE
)
_VENDORED = frozenset(
    {"vendor", "vendors", "vendored", "third_party", "third-party", "thirdparty", "external"}
    | {"extern", "node_modules", "bower_components", "site-packages", "deps", "subprojects"}
)
# A text file is prose in a documentation folder; elsewhere it is data, a list or a fixture.
_PROSE_FOLDERS = frozenset({"doc", "docs", "documentation", "notes", "articles", "blog"})
_DATA_FOLDERS = frozenset({"test", "tests", "testdata", "fixtures", "__snapshots__", "golden"})
_GENERATED = re.compile(
    rb"(?:auto(?:matically)?[ -]?generated|generated (?:by|from|with)|do not edit|@generated)",
    re.IGNORECASE,
)
_FENCE = re.compile(rb"[ \t]*(`{3,}|~{3,})")
_ITEM = re.compile(rb"[ \t]*(?:[-*+]|\d{1,9}[.)])[ \t]")
_HEADING = re.compile(rb" {0,3}#{1,6}[ \t]")
_DOCUMENTATION_FOLDERS = frozenset({"doc", "docs", "documentation"})
_MAX_SAMPLED_FILES = 300
_MIN_POSTS = 2
_POST_HEAD = re.compile(
    r"\ufeff?(?:---[ \t]*\r?\n.*?^---|\+\+\+[ \t]*\r?\n.*?^\+\+\+"
    r"|(?:title|date|slug):[^\r\n]+\r?\n|.*?^(?::date:|#\+date:)[^\r\n]+)",
    re.DOTALL | re.MULTILINE | re.IGNORECASE,
)
_DATE_FIELD = re.compile(
    r"^(?:[\"':]|#\+)?(?:\w*date\w*|\w*publish\w*|posted|created\w*)[\"']?"
    r"\s*[:=]\s*[\"']?\w*[ ,]?\d",
    re.MULTILINE | re.IGNORECASE,
)
_DOCUMENTATION_FIELD = re.compile(
    r"^(?:sidebar_\w+|nav_order|parent|weight|toc\w*)\s*[:=]", re.MULTILINE
)
_FORGE = re.compile(
    r"(?:https?://|ssh://|git://)?(?:[^@/]*@)?(github\.com|gitlab\.com|codeberg\.org)[:/]"
    r"([\w.-]+/[\w./-]+?)(?:\.git)?/?$"
)


def recognises(archive: Archive) -> bool:
    """Return whether this is a repository with prose and not a folder of posts.

    Less than half of its files are Markdown, and most of its prose files are not posts.
    """
    if archive.kind != "folder" or not git_blame.is_repository(archive.path):
        return False
    try:
        files = git_blame.list_tree(archive.path, max_files=_MAX_FILES)
    except GitError:
        return False  # without a commit, the files are imported as plain files
    names = [file.path for file in files]
    folders = {part for name in names for part in name.split("/")[:-1]}
    is_hugo = any(re.fullmatch(r"(?:hugo|config)\.(?:toml|ya?ml)", name) for name in names)
    if "_posts" in folders or (is_hugo and "content" in folders) or find_site_folder(names):
        return False
    prose_files = [file for file in files if not _skip_reason(file)]
    markdown_count = sum(bool(_MARKDOWN.search(name)) for name in names)
    if not prose_files or markdown_count * 2 >= len(names):
        return False
    if not (archive.path / ".git").exists():
        return True  # the files of a bare repository can be read only through git
    is_vault = any(name.startswith(".obsidian/") for name in names)
    return not (
        is_vault or any(map(is_generated_site, names)) or _is_blog(archive.path, prose_files)
    )


def _is_blog(folder: Path, prose: Sequence[TreeFile]) -> bool:
    """Return whether most of the prose files are posts, with a date in the name or front matter.

    Other files do not count: a blog's clone includes its theme, scripts and pictures. Front matter
    without a date counts only outside `docs`, because program documentation also has it
    (`sidebar_label`).
    """
    post_candidates = [
        file
        for file in prose
        if _PROSE.search(file.path) and not is_repository_file(file.path) and file.size
    ]
    sample = post_candidates[:: max(1, len(post_candidates) // _MAX_SAMPLED_FILES)]
    heads = git_blame.read_heads(folder, sample, size=2_000)
    post_count = sum(_is_post(file.path, heads.get(file.path, b"")) for file in sample)
    return post_count >= _MIN_POSTS and post_count * 2 > len(sample)


def _is_post(path: str, head: bytes) -> bool:
    if split_date_and_title(path)[0]:
        return True
    match = _POST_HEAD.match(head.decode("utf-8", "replace"))
    if match is None:
        return False
    if _DATE_FIELD.search(match[0]):
        return True
    folders = path.lower().split("/")[:-1]
    return _DOCUMENTATION_FOLDERS.isdisjoint(folders) and not _DOCUMENTATION_FIELD.search(match[0])


def read(
    archive: Archive,
    *,
    include: frozenset[str],  # noqa: ARG001 - no opt-in applies to a repository
) -> Iterator[ExportRecord | Skipped]:
    """Yield one record per prose file that contains a block by the author.

    Raises:
        TwinError: git fails, the clone is shallow, or no address is configured.
    """
    folder = archive.path
    emails = _read_author_emails(folder)
    git_blame.require_history(folder)
    files = git_blame.list_tree(folder, max_files=_MAX_FILES)
    prose_paths = [file.path for file in files if not _skip_reason(file)]
    attributes = git_blame.read_linguist_attributes(folder, prose_paths)
    repository_id, base_url = git_blame.find_root_commit(folder)[:12], _build_web_url(folder)
    blamed_count = 0
    for file in files:
        reason = _skip_reason(file) or attributes.get(file.path, "").removeprefix("linguist-")
        blamed_count += not reason
        if reason or blamed_count > _MAX_BLAMED_FILES:
            yield Skipped(file.path, reason or "beyond_the_bound")
            continue
        try:
            lines = git_blame.blame(folder, file.path)
        except GitError:
            yield Skipped(file.path, "unreadable")
            continue
        yield _build_file_record(
            file.path, lines, emails, repository_id=repository_id, base_url=base_url
        )


def _read_author_emails(folder: Path) -> frozenset[str]:
    emails = git_blame.read_config_values(folder, "twin.email")
    emails = emails or git_blame.read_config_values(folder, "user.email")[-1:]
    if not emails:
        raise TwinError(
            f"read the prose of {folder}",
            found="no e-mail address of the author",
            next_step="run `git config --add twin.email YOU@EXAMPLE.ORG` in it for each address",
        )
    return frozenset(address.casefold() for address in emails)


def _skip_reason(file: TreeFile) -> str:
    """Return why a tracked file is not imported, or "" if it is prose."""
    *folders, name = file.path.split("/")
    lowercase_folders = {folder.lower() for folder in folders}
    suffix = _PROSE.search(name)
    if file.mode == "160000":
        return "submodule"
    if file.mode == "120000":
        return "link"
    if _LICENCE.match(name) and ("." not in name or (suffix and name.split(".")[0].isupper())):
        return "licence"
    if not suffix and not _BARE_NAME.fullmatch(name):
        return "not_prose"
    if not lowercase_folders.isdisjoint(_VENDORED):
        return "vendored"
    is_plain_text = suffix is not None and suffix[1].lower() == "txt"
    has_known_name = _BARE_NAME.match(name) is not None
    if not lowercase_folders.isdisjoint(_DATA_FOLDERS) or (
        is_plain_text and not has_known_name and lowercase_folders.isdisjoint(_PROSE_FOLDERS)
    ):
        return "not_prose"
    return "too_large" if file.size > MAX_POST_BYTES else "" if file.size else "no_text"


def _build_file_record(
    path: str,
    lines: Sequence[BlamedLine],
    emails: frozenset[str],
    *,
    repository_id: str,
    base_url: str,
) -> ExportRecord | Skipped:
    body = b"".join(line.text for line in lines)
    if reason := _unread_reason(body):
        return Skipped(path, reason)
    try:
        head = read_post_head(body, source_id=path)
    except UnreadablePostError as error:
        return Skipped(path, error.reason)
    if hidden_reason := head.find_hidden_reason():
        return Skipped(path, hidden_reason)
    if head.text.endswith(head.body):  # otherwise the fields are below the title and stay
        lines = lines[head.text.removesuffix(head.body).count("\n") :]
    blocks = [
        (block, all(line.email in emails for line in block if line.text.strip()))
        for block in _split_blocks(lines)
    ]
    author_lines = [
        line for block, is_kept in blocks if is_kept for line in block if line.text.strip()
    ]
    if not author_lines:
        return Skipped(path, "by_somebody_else")
    text = _join_blocks(blocks)
    line_count = sum(bool(line.text.strip()) for line in lines)
    is_markdown = bool(_MARKDOWN.search(path))
    _, name_title = split_date_and_title(path.rsplit("/", 1)[-1])
    title = (
        front_matter.get_text_field(head.fields, "title") if len(author_lines) == line_count else ""
    )
    return ExportRecord(
        source=NAME,
        source_id=f"{repository_id}/{path}",
        text=text + "\n",
        kind="article",
        title=title or (find_first_heading(text) if is_markdown else "") or name_title,
        url=f"{base_url}/{path}" if base_url else "",
        author=max(author_lines, key=lambda line: line.written_at).author,
        byline=f"git blame: {len(author_lines)} of {line_count} lines",
        markup="markdown" if is_markdown else "text",
        created_at=min(line.written_at for line in author_lines),
        updated_at=max(line.written_at for line in author_lines),
    )


def _unread_reason(body: bytes) -> str:
    if body.startswith(b"version https://git-lfs"):
        return "lfs_pointer"
    if b"\0" in body:
        return "binary"
    if _GENERATED.search(b"\n".join(body.split(b"\n", 10)[:10])):
        return "generated"
    try:
        body.decode("utf-8")
    except UnicodeDecodeError:
        return "not_utf8"
    return ""


def _split_blocks(lines: Sequence[BlamedLine]) -> Iterator[list[BlamedLine]]:
    """Yield paragraphs, list items, headings, tables and fenced code, each with its blank lines.

    Indented code is not recognised: blank lines split it into blocks that are judged separately.
    """
    block: list[BlamedLine] = []
    fence = b""
    for line in lines:
        fence_match = _FENCE.match(line.text)
        if fence:
            block.append(line)
            if (
                fence_match
                and fence_match[1].startswith(fence)
                and not line.text[fence_match.end() :].strip()
            ):
                fence = b""
            continue
        follows_blank_line = bool(block) and not block[-1].text.strip()
        starts_block = fence_match or _ITEM.match(line.text) or _HEADING.match(line.text)
        follows_heading = bool(block) and _HEADING.match(block[-1].text)
        if block and line.text.strip() and (follows_blank_line or starts_block or follows_heading):
            yield block
            block = []
        block.append(line)
        fence = fence_match[1] if fence_match else b""
    if block:
        yield block


def _join_blocks(blocks: Sequence[tuple[Sequence[BlamedLine], bool]]) -> str:
    """Join the kept blocks unchanged, separating blocks around a gap with a blank line."""
    text, has_gap = b"", False
    for block, is_kept in blocks:
        if is_kept:
            separator = b"\n" if has_gap and text and not text.endswith(b"\n\n") else b""
            text += separator + b"".join(line.text for line in block)
        has_gap = not is_kept
    return text.decode("utf-8").strip("\n")


def _build_web_url(folder: Path) -> str:
    """Return the web address of the files on the forge, without any token before the host name."""
    origin = next(iter(git_blame.read_config_values(folder, "remote.origin.url")), "")
    match = _FORGE.match(origin)
    if match is None:
        return ""
    blob_path = {"github.com": "blob", "gitlab.com": "-/blob", "codeberg.org": "src"}[match[1]]
    return f"https://{match[1]}/{match[2]}/{blob_path}/HEAD"


# A Markdown README alone does not make a repository a folder of posts.
IMPORTER = Importer(NAME, "git repository", recognises, read, allows_markdown_posts=True)
