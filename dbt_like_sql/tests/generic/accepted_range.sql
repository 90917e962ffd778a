{# Select numbers outside the two bounds; null passes. Modelled on dbt_utils.accepted_range. #}
{% test accepted_range(model, column_name, min_value=none, max_value=none) %}
select *
from {{ model }}
where false
{%- if min_value is not none %}
    or {{ column_name }} < {{ min_value }}
{%- endif %}
{%- if max_value is not none %}
    or {{ column_name }} > {{ max_value }}
{%- endif %}
    or isnan({{ column_name }}::double)
{% endtest %}
