"""A small SQL project on disk, with files that a test may replace."""

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
    """Write the small project with some files replaced, as in `{"models/summed.sql": "…"}`."""

    def write(replaced: dict[str, str] | None = None) -> Path:
        folder = tmp_path / "sql"
        for name, text in (FILES | (replaced or {})).items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return folder

    return write


@pytest.fixture
def build_renderer(write_project: WriteProject) -> Callable[..., Renderer]:
    """Build a renderer of the small project with some files replaced."""

    def build(replaced: dict[str, str] | None = None) -> Renderer:
        return Renderer(read_project(write_project(replaced)))

    return build
