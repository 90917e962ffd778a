{{ config(materialized='table', unique_key=['author', 'day', 'version', 'is_simulated']) }}

-- Each stage is a part of the one before. Only the author's own edit may become a chosen answer, so an
-- answer reaches the last stage by one.
select
    author,
    day,
    version,
    is_simulated,
    count(*) as answers,
    count_if(votes > 0 or is_edited)::bigint as scored,
    count_if(is_edited)::bigint as edited,
    count_if(is_edited_by_author)::bigint as paired,
    count_if(votes > 0 or is_edited)::double / count(*) as scored_share,
    count_if(is_edited)::double / count(*) as edited_share,
    count_if(is_edited_by_author)::double / count(*) as paired_share
from {{ ref('requests') }}
group by author, day, version, is_simulated
