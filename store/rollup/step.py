"""Steps: one SELECT each, in steps/NN_name.sql, with a head that says when it is due and where its rows go."""

import re
from pathlib import Path

import msgspec

READINGS = "cityfleet.readings"
BLOCK_DEVICES = 256
# Readings are noted as changed by ten minutes.
READINGS_BUCKET_S = 600
_FOLDER = Path(__file__).parent / "steps"
_FILE = re.compile(r"(\d{2})_([a-z0-9_]+)\.sql")
_HEAD = re.compile(r"-- ([a-z]+(?: [a-z]+)*): +(\S.*)")
_SPAN = re.compile(r"(\d+) (minute|hour|day)s?")
_RAW = re.compile(r"\bcityfleet\.readings\b")
_UNITS_S = {"minute": 60, "hour": 3600, "day": 86400}
# Days begin at midnight of +07:00; hours and minutes fall on the same instants everywhere.
_DAY_OFFSET_S = 7 * 3600


class StepError(Exception):
    """A file of a step is not right; its author must mend it."""


class Step(msgspec.Struct, frozen=True):
    """What a file says. Times are seconds since 1970 UTC.

    Attributes:
        target: where its rows go; the table ends with the columns `version` and `is_deleted`.
        time: the target's column that a window [from, to) bounds.
        sources: tables whose changes make windows due: cityfleet.readings, or targets of steps before.
        reach_s, reach_back_s: a change at t alters rows of [t - reach_back_s, t + reach_s], by whole buckets.
        metrics: names; the parameter {metrics:Array(UInt16)} has their numbers.
        is_live: the open bucket is computed too, every minute; of `live_metrics` only, if it names any.
        is_sparse: the SELECT gives only rows that differ from the target's; what it does not give stays.
        deletes_itself: the SELECT gives `is_deleted` too, of any rows; else what it no longer gives in the window goes.
        replaces_all: the SELECT gives all rows that the target is to have, whatever the window.
        by_devices: windows are kept by block of 256 device numbers.
        question: a SELECT of a count over the same parameters; where it is 0 the step would give nothing. Empty: none.
    """

    name: str
    sql: str
    target: str
    sources: tuple[str, ...]
    bucket_s: int
    time: str = "ts"
    reach_s: int = 0
    reach_back_s: int = 0
    metrics: tuple[str, ...] = ()
    live_metrics: tuple[str, ...] = ()
    is_live: bool = False
    is_sparse: bool = False
    deletes_itself: bool = False
    replaces_all: bool = False
    by_devices: bool = False
    question: str = ""

    @property
    def reads_readings(self) -> bool:
        return READINGS in self.sources

    @property
    def needs_readings(self) -> bool:
        """Whether it looks into readings, be it only for some devices: where these are gone it must not run."""
        return self.reads_readings or _RAW.search(self.sql) is not None

    @property
    def is_by_windows(self) -> bool:
        """Whether a window's rows follow from its sources alone: then another may be computed meanwhile."""
        is_of_now = self.is_live and not self.live_metrics
        looks_at_itself = self.is_sparse or self.deletes_itself or self.replaces_all or self.target in self.sql
        return not (looks_at_itself or is_of_now)

    def floor(self, at_s: int) -> int:
        """Start of the bucket that holds `at_s`."""
        return floor(at_s, self.bucket_s)


def floor(at_s: int, bucket_s: int) -> int:
    """Start of the bucket of that length that holds `at_s`."""
    offset = _DAY_OFFSET_S if bucket_s % 86400 == 0 else 0
    return (at_s + offset) // bucket_s * bucket_s - offset


def floor_sql(column: str, bucket_s: int) -> str:
    """The same of a column of seconds, in SQL."""
    offset = _DAY_OFFSET_S if bucket_s % 86400 == 0 else 0
    return f"(intDiv({column} + {offset}, {bucket_s}) * {bucket_s} - {offset})"


def parse(name: str, text: str) -> Step:
    """Raises StepError."""
    head: dict[str, str] = {}
    lines = text.splitlines()
    for line in lines:
        match = _HEAD.fullmatch(line.rstrip())
        if match is not None:
            head[match[1]] = match[2]
    text = "\n".join(line for line in lines if not line.lstrip().startswith("--"))
    statements = text.strip().rstrip(";").split(";\n")
    if len(statements) > 2:
        raise StepError(f"{name}: more than a question and a SELECT")
    question, body = statements if len(statements) == 2 else ("", statements[0])
    known = {
        "target", "source", "bucket", "time", "reach", "reach back", "metrics", "live", "live metrics", "sparse",
        "by devices", "deletes", "replaces",
    }  # fmt: skip
    if unknown := head.keys() - known:
        raise StepError(f"{name}: the head has no `{sorted(unknown)[0]}:`")
    for key in ("target", "source", "bucket"):
        if key not in head:
            raise StepError(f"{name}: `-- {key}: ...` is missing")
    fields = head
    step = Step(
        name=name,
        sql=body,
        target=fields["target"],
        sources=_names(fields["source"]),
        bucket_s=_span(name, fields["bucket"]),
        time=fields.get("time", "ts"),
        reach_s=_span(name, fields.get("reach", "0 minutes")),
        reach_back_s=_span(name, fields.get("reach back", "0 minutes")),
        metrics=_names(fields.get("metrics", "")),
        live_metrics=_names(fields.get("live metrics", "")),
        is_live=fields.get("live") == "yes" or "live metrics" in fields,
        deletes_itself=fields.get("deletes") == "itself",
        replaces_all=fields.get("replaces") == "all",
        is_sparse=fields.get("sparse") == "yes",
        by_devices=fields.get("by devices") == "yes",
        question=question,
    )
    if step.reads_readings and not step.by_devices:
        raise StepError(f"{name}: a step on {READINGS} must be by devices")
    for parameter in ("from", "to", *(("device_from", "device_to") if step.by_devices else ())):
        if "{" + parameter + ":" not in body:
            raise StepError(f"{name}: parameter {{{parameter}:...}} is not used")
    if question and not (step.deletes_itself or step.replaces_all or step.is_sparse):
        raise StepError(f"{name}: no question without `deletes: itself`: rows would stay that are no more")
    if step.replaces_all and not question:
        raise StepError(
            f"{name}: `replaces: all` needs a question: a window of long ago must leave the rows as they are"
        )
    if (step.metrics or step.live_metrics) and "{metrics:" not in body:
        raise StepError(f"{name}: parameter {{metrics:Array(UInt16)}} is not used")
    return step


def load(folder: Path = _FOLDER) -> list[Step]:
    """All steps in the order in which they run. Raises StepError."""
    steps: list[Step] = []
    for path in sorted(folder.glob("*.sql")):
        match = _FILE.fullmatch(path.name)
        if match is None:
            raise StepError(f"{path.name} is not named like 10_what_it_gives.sql")
        step = parse(match[2], path.read_text(encoding="utf-8"))
        if any(step.name == other.name for other in steps):
            raise StepError(f"{path.name}: there is another step {step.name}")
        steps.append(step)
    for at, step in enumerate(steps):
        before = {other.target: other for other in steps[:at]}
        for source in step.sources:
            if source == READINGS:
                continue
            if source not in before:
                raise StepError(f"{step.name}: no step before it fills {source}")
            if step.by_devices and not before[source].by_devices:
                raise StepError(f"{step.name} is by devices, {source} is not")
    return steps


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _span(name: str, text: str) -> int:
    match = _SPAN.fullmatch(text.strip())
    if match is None:
        raise StepError(f"{name}: {text!r} is not like `10 minutes`, `12 hours`, `1 day`")
    return int(match[1]) * _UNITS_S[match[2]]
