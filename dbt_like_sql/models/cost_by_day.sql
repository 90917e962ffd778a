-- The cost of a self-hosted answer is its share of the machine's busy time. A sum over answers is
-- therefore the price of the busy time, not of the machine.
select
    author,
    day,
    route,
    is_simulated,
    count(*) as answers,
    count(cost_usd) as priced,
    coalesce(sum(cost_usd), 0.0) as cost_usd,
    avg(cost_usd) as cost_usd_per_answer,
    quantile_cont(latency_s, 0.5) as latency_s_median,
    quantile_cont(latency_s, 0.95) as latency_s_p95,
    count_if(is_degraded)::bigint as degraded,
    count(distinct reader) as readers
from {{ ref('requests') }}
group by author, day, route, is_simulated
