"""Provide a small SQL project on disk, whose files a test may replace."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from twin_assets.analytics.project import read_project
from twin_assets.analytics.rendering import Renderer

FILES = {
    "dbt_project.yml": "name: small\nvars:\n  least: 2\n",
    "models/schema.yml": """\
version: 2
sources:
  - name: raw
    tables:
      - name: votes
        columns:
          - {name: id, data_type: varchar}
          - {name: value, data_type: double}
models:
  - name: cast_votes
    config: {unique_key: [id]}
    columns:
      - name: id
        data_type: varchar
        data_tests: [unique, not_null]
      - {name: value, data_type: double}
  - name: summed
    config: {unique_key: [id], meta: {dagster: {partitions: none}}}
    columns:
      - {name: id, data_type: varchar}
      - {name: total, data_type: double}
""",
    "models/cast_votes.sql": """\
select id, value
from {{ source('raw', 'votes') }}
where value >= {{ var('least') }}
""",
    "models/summed.sql": """\
select
    id,
    {{ total('value') }} as total
from {{ ref('cast_votes') }}
group by id
""",
    "macros/sums.sql": "{% macro total(column) -%}\nsum({{ column }})\n{%- endmacro %}\n",
}

WriteProject = Callable[..., Path]


@pytest.fixture
def write_project(tmp_path: Path) -> WriteProject:
    """Return a function that writes the project, replacing files (`{"models/summed.sql": "…"}`)."""

    def write(replaced_files: dict[str, str] | None = None) -> Path:
        folder = tmp_path / "sql"
        for name, text in (FILES | (replaced_files or {})).items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return folder

    return write


@pytest.fixture
def build_renderer(write_project: WriteProject) -> Callable[..., Renderer]:
    """Return a function that builds a renderer of the project, with some files replaced."""

    def build(replaced_files: dict[str, str] | None = None) -> Renderer:
        return Renderer(read_project(write_project(replaced_files)))

    return build
