{{ config(materialized='table', unique_key=['event_id']) }}

-- Everything that happened to an author's model versions, one row an event: registered, judged, moved.
with known as (
    select author, version, checkpoint, dataset_version, template, created_at
    from {{ source('registry', 'model_versions') }}
),

registered as (
    select
        'registered/' || author || '/' || version as event_id,
        0 as number,
        author,
        version,
        created_at as happened_at,
        'registered' as event,
        cast(null as varchar) as from_state,
        'candidate' as to_state,
        cast(null as varchar) as actor,
        'dataset ' || left(dataset_version, 12) as reason,
        false as is_forced,
        cast(null as varchar) as gate_version,
        cast(null as bigint) as claims,
        cast(null as bigint) as unmet_claims
    from known
),

judged as (
    select
        'judged/' || judgement.number as event_id,
        judgement.number,
        judgement.author,
        known.version,
        judgement.created_at as happened_at,
        'judged' as event,
        cast(null as varchar) as from_state,
        judgement.outcome as to_state,
        'gate' as actor,
        coalesce(
            nullif(
                list_aggregate(
                    list_transform(
                        list_filter(
                            cast(judgement.claims as json[]),
                            lambda claim: coalesce(claim ->> 'passed', '') <> 'true'
                        ),
                        lambda claim: (claim ->> 'name') || ': ' || (claim ->> 'detail')
                    ),
                    'string_agg',
                    '; '
                ),
                ''
            ),
            'every claim holds'
        ) as reason,
        false as is_forced,
        judgement.gate_version,
        len(cast(judgement.claims as json[])) as claims,
        len(
            list_filter(
                cast(judgement.claims as json[]),
                lambda claim: coalesce(claim ->> 'passed', '') <> 'true'
            )
        ) as unmet_claims
    from {{ source('registry', 'verdicts') }} as judgement
    left join known
        on judgement.author = known.author and judgement.checkpoint = known.checkpoint
),

moved as (
    select
        'moved/' || number as event_id,
        number,
        author,
        version,
        moved_at as happened_at,
        'moved' as event,
        from_state,
        to_state,
        actor,
        reason,
        forced as is_forced,
        cast(null as varchar) as gate_version,
        cast(null as bigint) as claims,
        cast(null as bigint) as unmet_claims
    from {{ source('registry', 'moves') }}
),

happened as (
    select * from registered
    union all
    select * from judged
    union all
    select * from moved
),

-- A version is in a state from one registration or move to the next; a verdict changes none.
lasting as (
    select
        event_id,
        lead(happened_at) over (
            partition by author, version order by happened_at, number
        ) as until_at
    from happened
    where event <> 'judged'
)

select
    happened.event_id,
    happened.author,
    happened.version,
    happened.happened_at,
    happened.event,
    happened.from_state,
    happened.to_state,
    lasting.until_at,
    happened.actor,
    happened.reason,
    happened.is_forced,
    happened.gate_version,
    happened.claims,
    happened.unmet_claims
from happened
left join lasting on happened.event_id = lasting.event_id
