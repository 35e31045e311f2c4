"""Where devices were, in SQL. The present placement is in the row of the device itself."""

from collections.abc import Sequence

from sqlalchemy import Connection, insert, select

from registry.db.schema import device_placements
from registry.devices.model import Device, Placement


def end_placements(connection: Connection, moved: Sequence[tuple[Device, int]], now_ms: int) -> None:
    """Keep where devices were. Args: moved: each as it was before, and the revision of its move."""
    if not moved:
        return
    connection.execute(
        insert(device_placements),
        [
            {
                "device_num": device.device_num,
                "revision": revision,
                "start_time_ms": device.placed_time_ms,
                "end_time_ms": now_ms,
                "gateway_id": device.spec.gateway,
                "site_id": device.spec.site_id,
                "ward_code": device.placed.ward_code,
                "latitude": device.placed.latitude,
                "longitude": device.placed.longitude,
            }
            for device, revision in moved
        ],
    )


def past_placements(
    connection: Connection, device_num: int, before_revision: int, limit: int
) -> list[tuple[int, Placement]]:
    """Ended placements, each with the revision that ended it, the newest first; before a revision, 0: all."""
    c = device_placements.c
    query = select(
        c.revision, c.start_time_ms, c.end_time_ms, c.gateway_id, c.site_id, c.ward_code, c.latitude, c.longitude
    ).where(c.device_num == device_num)
    if before_revision:
        query = query.where(c.revision < before_revision)
    return [(row[0], Placement(*row[1:])) for row in connection.execute(query.order_by(c.revision.desc()).limit(limit))]
