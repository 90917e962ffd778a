"""Define three of dbt's generic tests in dbt's own SQL.

Scope: `unique`, `not_null`, `accepted_values`; each selects the invalid rows.
Out of scope: the project's own generic tests (`dbt_like_sql/tests/generic`).
Source: dbt-adapters, `macros/generic_test_sql` (Apache 2.0),
https://docs.getdbt.com/docs/build/data-tests
"""
# pyright: strict

FILE = "built_in_tests.sql"

SQL = """\
{% test unique(model, column_name) %}
select {{ column_name }} as unique_field, count(*) as n_records
from {{ model }}
where {{ column_name }} is not null
group by {{ column_name }}
having count(*) > 1
{% endtest %}

{% test not_null(model, column_name) %}
select * from {{ model }} where {{ column_name }} is null
{% endtest %}

{% test accepted_values(model, column_name, values, quote=true) %}
with all_values as (
    select {{ column_name }} as value_field, count(*) as n_records
    from {{ model }}
    group by {{ column_name }}
)
select *
from all_values
where value_field not in (
{%- for value in values -%}
{{ "'" ~ (value | string | replace("'", "''")) ~ "'" if quote else value -}}
{{ "" if loop.last else ", " }}
{%- endfor -%}
)
{% endtest %}
"""
