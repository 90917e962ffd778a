{{ config(materialized='table', unique_key=['trace_id']) }}

-- One row an answer. No text of a reader or of the model: that stays in `interactions`.
select
    trace_id,
    author,
    started_at,
    started_at::date as day,
    version,
    checkpoint,
    route,
    propensity,
    prompt_class,
    template,
    reader,
    len(chunk_ids)::bigint as passages,
    latency_s,
    cost_usd,
    degraded as degraded_because,
    degraded <> '' as is_degraded,
    simulated as is_simulated,
    coalesce(batch, false) as is_batch,
    vote,
    votes,
    list_sort(list_distinct(voters)) as voters,
    judged,
    judgements,
    edit_role is not null as is_edited,
    coalesce(edit_role = 'author', false) as is_edited_by_author
from {{ source('feedback', 'interactions') }}
