"""The package for modules of others: answers, ages and times without a store; its wheel is complete."""

import subprocess
import sys
import zipfile
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pyarrow as pa
import pytest

from cityfleet_ioc import AccessError, Answer, BadQuestionError, UnavailableError
from cityfleet_ioc.city import _literal
from cityfleet_ioc.errors import error_of

_FOLDER = Path(__file__).parents[2] / "ioc"
_HANOI = timezone(timedelta(hours=7))


def test_times_become_utc_text_and_need_a_zone() -> None:
    assert _literal(datetime(2026, 10, 1, tzinfo=_HANOI)) == "'2026-09-30 17:00:00'"
    with pytest.raises(ValueError, match="no zone"):
        _literal(datetime(2026, 10, 1))  # noqa: DTZ001


def test_text_is_quoted() -> None:
    assert _literal("a' OR \\") == "'a\\' OR \\\\'"


def test_an_answer_knows_how_old_it_is() -> None:
    times = [datetime(2026, 10, 1, tzinfo=UTC), None, datetime(2026, 9, 1, tzinfo=UTC)]
    answer = Answer("x", pa.table({"as_of": pa.array(times, pa.timestamp("ms", "UTC"))}))
    assert (answer.as_of, answer.oldest_as_of) == (times[0], times[2])
    assert Answer("x", pa.table({"n": [1]})).as_of is None
    assert Answer("x", pa.table({"as_of": pa.array([0], pa.timestamp("ms", "UTC"))})).as_of is None


def test_errors_say_what_to_do_next() -> None:
    assert isinstance(error_of("no", 516), AccessError)
    assert isinstance(error_of("no", 47), BadQuestionError)
    assert isinstance(error_of("no", 0), UnavailableError)


def test_the_wheel_has_all_of_it(tmp_path: Path) -> None:
    # From a copy: setuptools builds in the folder.
    copy = tmp_path / "ioc"
    for path in sorted(_FOLDER.rglob("*")):
        if path.is_file() and not {"__pycache__", "build"} & set(path.parts):
            (copy / path.relative_to(_FOLDER)).parent.mkdir(parents=True, exist_ok=True)
            (copy / path.relative_to(_FOLDER)).write_bytes(path.read_bytes())
    build = "import setuptools.build_meta as b, sys; print(b.build_wheel(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", build, str(tmp_path)], cwd=copy, check=True, capture_output=True)
    wheel = next(tmp_path.glob("*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if name.startswith("cityfleet_ioc/")}
    assert names == {
        f"cityfleet_ioc/{name}" for name in ("__init__.py", "answer.py", "city.py", "errors.py", "py.typed")
    }
