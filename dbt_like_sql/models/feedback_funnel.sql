{{ config(materialized='table', unique_key=['author', 'day', 'version', 'is_simulated']) }}

-- From readers' answers to what is trained on (a batch has no reader who could score its answers). A
-- pair comes of an author's edit, or of an answer that readers scored low; that an answer was scored
-- or edited is the ledger's word, that it made a pair the preference dataset's.
with pairs as (
    select distinct trace_id
    from {{ source('instructions', 'preference_dataset') }}
    where trace_id is not null
),

staged as (
    select
        requests.author,
        requests.day,
        requests.version,
        requests.is_simulated,
        requests.votes > 0 or requests.is_edited as is_scored,
        requests.is_edited,
        pairs.trace_id is not null as is_paired
    from {{ ref('requests') }} as requests
    left join pairs on requests.trace_id = pairs.trace_id
    where not requests.is_batch
)

select
    author,
    day,
    version,
    is_simulated,
    count(*) as answers,
    count_if(is_scored)::bigint as scored,
    count_if(is_edited)::bigint as edited,
    count_if(is_paired)::bigint as paired,
    count_if(is_scored)::double / count(*) as scored_share,
    count_if(is_edited)::double / count(*) as edited_share,
    count_if(is_paired)::double / count(*) as paired_share
from staged
group by author, day, version, is_simulated
