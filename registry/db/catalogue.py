"""Metrics and device types in SQL."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import TypeVar

import msgspec
from sqlalchemy import Connection, RowMapping, delete, func, insert, select, update

from registry.db import sequence
from registry.db.bulk import among
from registry.db.schema import device_type_metrics, device_type_revisions, device_types, devices, metrics
from registry.devices.decoder import Decoder, TestVector
from registry.devices.model import CommandSchema, DeviceType, Metric, State, TypeMetric, TypeSpec
from registry.devices.quality import QualityTests

Value = TypeVar("Value")
_spec_decoder = msgspec.json.Decoder(TypeSpec)


def insert_metrics(connection: Connection, new: Sequence[tuple[str, str, str]], now_ms: int) -> None:
    """Add metrics given as (metric_id, unit, description); none of the ids may exist."""
    taken = sequence.take(connection, revisions=len(new), metrics=len(new))
    first_num, first_revision = taken.metric_num - len(new) + 1, taken.revision - len(new) + 1
    connection.execute(
        insert(metrics),
        [
            {
                "metric_num": first_num + at,
                "metric_id": metric_id,
                "unit": unit,
                "description": description,
                "revision": first_revision + at,
                "create_time_ms": now_ms,
                "update_time_ms": now_ms,
            }
            for at, (metric_id, unit, description) in enumerate(new)
        ],
    )


def update_metric(connection: Connection, metric_num: int, description: str, now_ms: int) -> None:
    revision = sequence.take(connection, revisions=1).revision
    change = update(metrics).where(metrics.c.metric_num == metric_num)
    connection.execute(change.values(description=description, revision=revision, update_time_ms=now_ms))


def find_metric(connection: Connection, metric_id: str) -> Metric | None:
    row = connection.execute(select(metrics).where(metrics.c.metric_id == metric_id)).mappings().one_or_none()
    return Metric(**row) if row else None


def list_metrics(connection: Connection, after_num: int, limit: int) -> list[Metric]:
    """Metrics with a number above `after_num`, in the order of their numbers."""
    query = select(metrics).where(metrics.c.metric_num > after_num).order_by(metrics.c.metric_num).limit(limit)
    return [Metric(**row) for row in connection.execute(query).mappings()]


def metrics_since(connection: Connection, revision: int) -> list[Metric]:
    """Metrics changed after `revision`, in the order of their change."""
    query = select(metrics).where(metrics.c.revision > revision).order_by(metrics.c.revision)
    return [Metric(**row) for row in connection.execute(query).mappings()]


def metric_nums(connection: Connection) -> dict[str, int]:
    return {
        row.metric_id: row.metric_num for row in connection.execute(select(metrics.c.metric_id, metrics.c.metric_num))
    }


def metric_units(connection: Connection) -> dict[str, str]:
    """Canonical units by metric."""
    return {row.metric_id: row.unit for row in connection.execute(select(metrics.c.metric_id, metrics.c.unit))}


def insert_type(connection: Connection, spec: TypeSpec, now_ms: int) -> None:
    taken = sequence.take(connection, revisions=1, types=1)
    connection.execute(
        insert(device_types).values(
            type_num=taken.type_num,
            type_id=spec.type_id,
            version=1,
            dimension_revision=taken.revision,
            revision=taken.revision,
            create_time_ms=now_ms,
            update_time_ms=now_ms,
            **_type_columns(spec),
        )
    )
    _insert_type_metrics(connection, taken.type_num, spec)


def update_type(connection: Connection, current: DeviceType, spec: TypeSpec, now_ms: int) -> None:
    """Make `spec` the next version, and keep the present one. A deleted type is there again."""
    connection.execute(
        insert(device_type_revisions).values(
            type_num=current.type_num,
            version=current.version,
            spec=msgspec.json.encode(current.spec).decode(),
            create_time_ms=current.update_time_ms,
        )
    )
    revision = sequence.take(connection, revisions=1).revision
    in_dimension = spec.expected_interval_s != current.spec.expected_interval_s
    connection.execute(
        update(device_types)
        .where(device_types.c.type_num == current.type_num)
        .values(
            version=current.version + 1,
            dimension_revision=revision if in_dimension else current.dimension_revision,
            revision=revision,
            update_time_ms=now_ms,
            **_type_columns(spec),
        )
    )
    connection.execute(delete(device_type_metrics).where(device_type_metrics.c.type_num == current.type_num))
    _insert_type_metrics(connection, current.type_num, spec)


def delete_type(connection: Connection, type_num: int) -> None:
    revision = sequence.take(connection, revisions=1).revision
    change = update(device_types).where(device_types.c.type_num == type_num)
    connection.execute(change.values(is_deleted=True, revision=revision))


def find_type(connection: Connection, type_id: str, *, is_deleted: bool = False) -> DeviceType | None:
    """Args: is_deleted: find one that is deleted, instead of one that is not."""
    query = select(device_types).where(device_types.c.type_id == type_id, device_types.c.is_deleted.is_(is_deleted))
    rows = connection.execute(query).mappings().all()
    return next(iter(_types(connection, rows)), None)


def find_types(connection: Connection, type_ids: Collection[str]) -> dict[str, DeviceType]:
    """Those of the given types that are there, by id; without deleted ones. At most some thousands at once."""
    wanted = among(connection, device_types.c.type_id, type_ids)
    query = select(device_types).where(wanted, device_types.c.is_deleted.is_(False))
    found = _types(connection, connection.execute(query).mappings().all())
    return {kind.spec.type_id: kind for kind in found}


def list_types(connection: Connection, after_num: int = 0, limit: int = 65_535) -> list[DeviceType]:
    """Types with a number above `after_num`, in the order of their numbers; without deleted ones."""
    query = select(device_types).where(device_types.c.type_num > after_num, device_types.c.is_deleted.is_(False))
    rows = connection.execute(query.order_by(device_types.c.type_num).limit(limit)).mappings().all()
    return _types(connection, rows)


def types_since(connection: Connection, revision: int) -> list[DeviceType]:
    """Types changed after `revision`, in the order of their change; deleted ones too."""
    query = select(device_types).where(device_types.c.revision > revision).order_by(device_types.c.revision)
    return _types(connection, connection.execute(query).mappings().all())


def former_versions(connection: Connection, current: DeviceType, below: int, limit: int) -> list[DeviceType]:
    """The type as it was before its present version, in versions below `below`, the newest first."""
    table = device_type_revisions
    query = select(table.c.version, table.c.spec, table.c.create_time_ms)
    query = query.where(table.c.type_num == current.type_num, table.c.version < below)
    rows = connection.execute(query.order_by(table.c.version.desc()).limit(limit))
    return [
        msgspec.structs.replace(current, version=version, spec=_spec_decoder.decode(spec), update_time_ms=begin_time_ms)
        for version, spec, begin_time_ms in rows
    ]


def device_of_type(connection: Connection, type_num: int, hardware_revisions: Collection[str] = ()) -> str | None:
    """The id of a device of this type, if there is one; with one of the hardware revisions if any are given."""
    query = select(devices.c.device_id).where(devices.c.type_num == type_num)
    if hardware_revisions:
        query = query.where(devices.c.hardware_revision.in_(hardware_revisions))
    return connection.execute(query.limit(1)).scalar_one_or_none()


def gateway_in_use(connection: Connection, type_num: int) -> str | None:
    """The id of an active device behind a gateway of this type, if there is one."""
    gateway = devices.alias("gateway")
    query = (
        select(devices.c.device_id)
        .join(gateway, gateway.c.device_num == devices.c.gateway_num)
        .where(gateway.c.type_num == type_num, devices.c.state == State.ACTIVE)
        .limit(1)
    )
    return connection.execute(query).scalar_one_or_none()


def grouped_type(connection: Connection, type_num: int) -> str | None:
    """The id of an active device of this type that is registered behind a gateway, if there is one."""
    query = select(devices.c.device_id).where(
        devices.c.type_num == type_num, devices.c.gateway_num > 0, devices.c.state == State.ACTIVE
    )
    return connection.execute(query.limit(1)).scalar_one_or_none()


def count_metrics(connection: Connection) -> int:
    return connection.execute(select(func.count()).select_from(metrics)).scalar_one()


def _type_columns(spec: TypeSpec) -> dict[str, object]:
    return {
        "display_name": spec.display_name,
        "description": spec.description,
        "is_gateway": spec.is_gateway,
        "default_encoding": spec.default_encoding,
        "expected_interval_s": spec.expected_interval_s,
        "decoder": _json_or_empty(spec.decoder, Decoder()),
        "vectors": _json_or_empty(spec.vectors, ()),
        "config_schema": spec.config_schema,
        "commands": _json_or_empty(spec.commands, ()),
        "hardware_revisions": _json_or_empty(spec.hardware_revisions, ()),
        "is_deleted": False,
    }


def _json_or_empty(value: object, default: object) -> str:
    return "" if value == default else msgspec.json.encode(value).decode()


def _json_of(text: str, kind: type[Value], default: Value) -> Value:
    return msgspec.json.decode(text, type=kind) if text else default


def _insert_type_metrics(connection: Connection, type_num: int, spec: TypeSpec) -> None:
    if not spec.metrics:
        return
    numbers = metric_nums(connection)
    connection.execute(
        insert(device_type_metrics),
        [
            {
                "type_num": type_num,
                "position": position,
                "metric_num": numbers[entry.metric],
                "min_value": entry.min_value,
                "max_value": entry.max_value,
                "source": entry.source,
                "source_unit": entry.source_unit,
                "resolution": entry.resolution,
                "expected_interval_s": entry.expected_interval_s,
                "tests": _json_or_empty(entry.tests, QualityTests()),
            }
            for position, entry in enumerate(spec.metrics)
        ],
    )


def _types(connection: Connection, rows: Sequence[RowMapping]) -> list[DeviceType]:
    entries: dict[int, list[TypeMetric]] = defaultdict(list)
    query = select(device_type_metrics, metrics.c.metric_id).join(metrics).order_by(device_type_metrics.c.position)
    query = query.where(among(connection, device_type_metrics.c.type_num, [row["type_num"] for row in rows]))
    for entry in connection.execute(query) if rows else ():
        entries[entry.type_num].append(
            TypeMetric(
                entry.metric_id,
                entry.min_value,
                entry.max_value,
                entry.source,
                entry.source_unit,
                entry.resolution,
                entry.expected_interval_s,
                _json_of(entry.tests, QualityTests, QualityTests()),
            )
        )
    return [
        DeviceType(
            type_num=row["type_num"],
            spec=TypeSpec(
                type_id=row["type_id"],
                display_name=row["display_name"],
                description=row["description"],
                is_gateway=row["is_gateway"],
                default_encoding=row["default_encoding"],
                expected_interval_s=row["expected_interval_s"],
                metrics=tuple(entries[row["type_num"]]),
                decoder=_json_of(row["decoder"], Decoder, Decoder()),
                vectors=_json_of(row["vectors"], tuple[TestVector, ...], ()),
                config_schema=row["config_schema"],
                commands=_json_of(row["commands"], tuple[CommandSchema, ...], ()),
                hardware_revisions=_json_of(row["hardware_revisions"], tuple[str, ...], ()),
            ),
            version=row["version"],
            dimension_revision=row["dimension_revision"],
            revision=row["revision"],
            create_time_ms=row["create_time_ms"],
            update_time_ms=row["update_time_ms"],
        )
        for row in rows
    ]
