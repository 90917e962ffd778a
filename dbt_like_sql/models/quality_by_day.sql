-- A reader who votes fifty times on one day counts once for that day, as in the drift detector. A
-- judged answer counts once. The day is that of the answer. If an answer has several voters, each of
-- them counts with the answer's mean vote.
with votes_by_reader as (
    select
        author,
        day,
        version,
        prompt_class,
        is_simulated,
        unnest(voters) as reader,
        vote
    from {{ ref('requests') }}
    where votes > 0
),

measured as (
    select
        author,
        day,
        version,
        prompt_class,
        'thumbs' as measure,
        is_simulated,
        avg(vote) as value
    from votes_by_reader
    group by author, day, version, prompt_class, is_simulated, reader

    union all

    select
        author,
        day,
        version,
        prompt_class,
        'judged' as measure,
        is_simulated,
        judged as value
    from {{ ref('requests') }}
    where judgements > 0
),

summed as (
    select
        author,
        day,
        version,
        prompt_class,
        measure,
        is_simulated,
        count(*) as n,
        avg(value) as mean,
        coalesce(var_samp(value), 0.0) as variance,
        bool_and(value in (0.0, 1.0)) as is_binary
    from measured
    group by author, day, version, prompt_class, measure, is_simulated
),

counted as (
    select
        *,
        case
            when is_binary then n
            else {{ effective_values('n', 'mean', 'variance') }}
        end::double as n_effective
    from summed
)

select
    author,
    day,
    version,
    prompt_class,
    measure,
    is_simulated,
    n,
    mean,
    {{ wilson_low('mean', 'n_effective') }} as low,
    {{ wilson_high('mean', 'n_effective') }} as high,
    case when is_binary then 'wilson' else 'wilson_effective' end as method,
    n_effective
from counted
