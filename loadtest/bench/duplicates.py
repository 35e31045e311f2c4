"""What it costs that a reading is seen once: identity and token at insert, in merges, and FINAL in questions.

`python -m loadtest.bench.duplicates` fills two tables of one engine with the same 5 million rows of 100,000 devices,
one in twenty of which is a copy: `readings` as it is, and `plain`, a MergeTree of the same columns and order without
tokens, deduplication window or identity, which is asked without FINAL. They are asked while nothing is merged, when all
is one part, and with a fifth of the rows in fresh parts beside it. `duplicates_cost` is of this last state: how many
times as long the questions take on `readings` as on `plain`.
"""

import argparse
import importlib
import os
import resource
import statistics
import tempfile
import time
from typing import Any

import numpy as np

from loadtest.bench.layout import INSERTS, VARIANTS, Columns, fleet, native, schema
from loadtest.bench.result import figure, say

_COPIES = 20
_OURS, _PLAIN = "readings", "plain"
# By `{}`: the table, with FINAL where it is ours. A device's series, ten minutes of a ward and of the city.
_QUESTIONS = {
    "device": "SELECT count(), avg(value) FROM {} WHERE device_num = 778 AND metric_num = 3",
    "ward": "SELECT max(value) FROM {} WHERE ward_code = '00007' AND ts >= (SELECT max(ts) - 600 FROM readings)",
    "city": "SELECT metric_num, ward_code, avg(value) FROM {} WHERE ts >= (SELECT max(ts) - 600 FROM readings) "
    "GROUP BY metric_num, ward_code",
    "all": "SELECT metric_num, count(), avg(value) FROM {} GROUP BY metric_num",
}
STATES = ("a fifth fresh", "all merged", "nothing merged")
Times = dict[str, dict[str, list[float]]]


def bodies(blocks: int) -> list[bytes]:
    """Native blocks; each has some rows of the block before once more, received an hour later."""
    found = []
    before: Columns | None = None
    for number in range(blocks):
        rows = fleet(number)
        if before is not None:
            again = {name: values[::_COPIES] for name, values in before.items()}
            again["received_at"] = again["received_at"] + 3_600_000
            kept = {name: values[len(again["ts"]) :] for name, values in rows.items()}
            rows = {name: np.concatenate([kept[name], again[name]]) for name in rows}
        before = rows
        found.append(native(rows, VARIANTS[0]))
    return found


class Engine:
    """The embedded engine on a folder of its own, with both tables."""

    def __init__(self, folder: str) -> None:
        os.environ["TZ"] = "UTC"
        self._chdb: Any = importlib.import_module("chdb._chdb")  # its import starts an engine
        self._folder = folder
        self._control = self._chdb.connect(folder)
        for statement in schema(VARIANTS[0]):
            self.ask(statement)
        ours = next(one for one in schema(VARIANTS[0]) if "ReplacingMergeTree(received_at)" in one)
        plain = ours.replace(f"EXISTS {_OURS}", f"EXISTS {_PLAIN}").replace(
            "ReplacingMergeTree(received_at)", "MergeTree"
        )
        self.ask(
            plain.replace("non_replicated_deduplication_window = 10000", "non_replicated_deduplication_window = 0")
        )
        self.ask("SYSTEM STOP MERGES")

    def ask(self, sql: str) -> str:
        answer: str = self._control.query(sql, "TabSeparated").bytes().decode().strip()
        return answer

    def rows(self, table: str) -> int:
        return int(self.ask(f"SELECT count() FROM {table}"))  # noqa: S608 (a name of ours)

    def insert(self, table: str, body: bytes, token: str) -> float:
        """CPU seconds."""
        began = _cpu_s()
        session = self._chdb.connect(self._folder)
        settings: dict[str, Any] = dict(INSERTS)
        settings |= {"insert_deduplication_token": f"'{token}'"} if table == _OURS else {"insert_deduplicate": 0}
        session.query("SET " + ", ".join(f"{name} = {value}" for name, value in settings.items()), "Null")
        insert = session.send_insert(f"INSERT INTO {table}", "Native")
        for at in range(0, len(body), 1 << 20):
            session.insert_append(insert, body[at : at + (1 << 20)])
        session.insert_done(insert)
        session.close()
        return _cpu_s() - began

    def questions(self, rounds: int) -> Times:
        """Seconds of each question on each table, taken in turns."""
        found: Times = {name: {_OURS: [], _PLAIN: []} for name in _QUESTIONS}
        for _ in range(rounds + 1):
            for name, sql in _QUESTIONS.items():
                for table in (_OURS, _PLAIN):
                    started = time.perf_counter()
                    self.ask(sql.format(f"{table} FINAL" if table == _OURS else table))
                    found[name][table].append(time.perf_counter() - started)
        return {name: {table: times[1:] for table, times in both.items()} for name, both in found.items()}

    def merge(self, table: str) -> float:
        """CPU seconds until it is one part."""
        self.ask(f"SYSTEM START MERGES {table}")
        began = _cpu_s()
        self.ask(f"OPTIMIZE TABLE {table} FINAL")
        spent = _cpu_s() - began
        self.ask(f"SYSTEM STOP MERGES {table}")
        return spent

    def close(self) -> None:
        self._control.close()


def measure(blocks: int, rounds: int) -> dict[str, Any]:
    made = bodies(blocks)
    fresh = max(1, blocks // 5)
    found: dict[str, Any] = {"insert_us": {}, "merge_us": {}}
    inserts: dict[str, list[float]] = {_OURS: [], _PLAIN: []}
    with tempfile.TemporaryDirectory() as folder:
        engine = Engine(folder)
        for number, body in enumerate(made):
            if number == blocks - fresh:
                found["nothing merged"] = engine.questions(rounds)
                merged_rows = engine.rows(_PLAIN)
                found["merge_us"] = {table: engine.merge(table) / merged_rows * 1e6 for table in (_PLAIN, _OURS)}
                found["all merged"] = engine.questions(rounds)
            for table in (_OURS, _PLAIN) if number % 2 else (_PLAIN, _OURS):
                inserts[table].append(engine.insert(table, body, str(number)))
        found["a fifth fresh"] = engine.questions(rounds)
        found["rows"] = engine.rows(_PLAIN)
        found["copies"] = found["rows"] - engine.rows(f"{_OURS} FINAL")
        engine.close()
    found["insert_us"] = {table: sum(times) / found["rows"] * 1e6 for table, times in inserts.items()}
    return found


def _ratios(times: Times) -> list[float]:
    """Ours to plain, all questions together, round by round."""
    rounds = range(len(next(iter(times.values()))[_OURS]))
    return [
        sum(both[_OURS][at] for both in times.values()) / sum(both[_PLAIN][at] for both in times.values())
        for at in rounds
    ]


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _show(found: dict[str, Any]) -> None:
    print(f"{found['rows']:,} rows, {found['copies']:,} of them copies; CPU-us a row, milliseconds a question\n")
    print("| | identity | plain | ratio |")
    print("|---|---|---|---|")
    for name in ("insert_us", "merge_us"):
        ours, plain = found[name][_OURS], found[name][_PLAIN]
        print(f"| {name.removesuffix('_us')} | {ours:.2f} | {plain:.2f} | {ours / plain:.2f} |")
    for state in STATES:
        for name, both in found[state].items():
            ours, plain = (statistics.median(both[table]) * 1e3 for table in (_OURS, _PLAIN))
            print(f"| {name}, {state} | {ours:.1f} | {plain:.1f} | {ours / plain:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=10, help="of 500,000 rows")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    found = measure(options.blocks, options.rounds)
    _show(found)
    insert, merge = found["insert_us"], found["merge_us"]
    say(
        figure(
            "duplicates_cost",
            _ratios(found["a fifth fresh"]),
            "times",
            1.0,
            less_is_better=True,
            rows=found["rows"],
            copies=found["copies"],
            baseline_is="a plain MergeTree with its copies, without FINAL",
            questions={state: statistics.median(_ratios(found[state])) for state in STATES},
            insert=insert[_OURS] / insert[_PLAIN],
            merge=merge[_OURS] / merge[_PLAIN],
        )
    )


if __name__ == "__main__":
    main()
