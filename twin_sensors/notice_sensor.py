"""Define the sensor `notices_waiting`, which sends pending notices to people.

Scope: the code between Dagster and `notifications.deliver`.
Out of scope: addresses and their syntax (`notifications.py`), and the choice of notices (the
modules that create them).
"""

import time

import dagster as dg

from twin_resources.observability.notifications import InvalidChannel, deliver, parse_channels
from twin_resources.settings import Settings
from twin_resources.storage.state.state import State


@dg.sensor(
    description="Sends waiting notices (alarms, releases, refusals) to the addresses in "
    "`TWIN_NOTIFY`, and retries failed deliveries.",
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def notices_waiting(
    settings: dg.ResourceParam[Settings], state: dg.ResourceParam[State]
) -> dg.SkipReason:
    """Send notices to the addresses in `TWIN_NOTIFY`, and retry failed deliveries."""
    notification_channels = parse_channels(settings.notify.split())
    delivery = deliver(state, notification_channels, now=time.time())
    invalid_addresses = [
        str(channel.reason)
        for channel in notification_channels
        if isinstance(channel, InvalidChannel)
    ]
    summary = (
        f"{delivery.sent} sent, {delivery.waiting} waiting, {delivery.given_up} abandoned, "
        f"{len(notification_channels)} addresses"
    )
    return dg.SkipReason("\n".join([summary, *invalid_addresses]))
