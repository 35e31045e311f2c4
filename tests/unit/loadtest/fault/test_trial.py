"""Runs of fault scenarios: the seed makes the run, a failure leaves its history and says how to have it again."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from cityfleet.telemetry.v1 import telemetry_pb2
from loadtest.fault import trial
from loadtest.fault.catalogue import ENTRIES, Entry, chosen
from loadtest.fault.outcome import Outcome
from loadtest.fault.sequence import BASE_MS, Sequence
from loadtest.fault.store_link import _choose
from loadtest.fault.trial import Trial, again, perform

ROOT = Path(__file__).parents[4]
SOME = Entry("some", "some", 1, 1, "for the test")


@pytest.fixture(autouse=True)
def kept(tmp_path, monkeypatch):
    monkeypatch.setattr(trial, "KEPT", tmp_path / "kept")
    return tmp_path / "kept"


def running(monkeypatch, run):
    monkeypatch.setattr(trial, "import_module", lambda _: SimpleNamespace(run=run))


def test_the_same_seed_makes_the_same_faults(monkeypatch, kept):
    def faults(seed, run):
        found = []

        async def scenario(one: Trial) -> Outcome:
            one.fault("kill", role=one.random.choice("abc"), after_s=one.random.random())
            found.extend([one.random.random(), *(_choose(one) for _ in range(20))])
            return Outcome()

        running(monkeypatch, scenario)
        assert perform(SOME, seed, run).failed == ""
        return found

    assert faults("1234", 3) == faults("1234", 3)
    assert faults("1234", 3) != faults("1234", 4)
    assert faults("1234", 3) != faults("1235", 3)


def test_a_failing_run_leaves_its_history_and_the_rest_of_its_folder(monkeypatch, kept):
    def scenario(one: Trial) -> Outcome:
        (one.folder / "ingest.log").write_text("said\n")
        (one.folder / "data" / "store").mkdir(parents=True)
        (one.folder / "data" / "store" / "large").write_bytes(b"x")
        (one.folder / "data" / "ingest").mkdir()
        one.history.message("sent", "wl-1", 7)
        one.fault("kill -9 ingest", number=0)
        return Outcome(missing=["wl-1 message 7"], missing_readings=20)

    running(monkeypatch, scenario)
    assert "20 acknowledged readings missing: wl-1 message 7" in perform(SOME, "5eed").failed
    folder = kept / "some-0"
    lines = [json.loads(line) for line in (folder / "history.ndjson").read_text().splitlines()]
    assert [line["event"] for line in lines] == ["begin", "sent", "fault", "end"]
    assert lines[1]["message"] == 7
    assert lines[0]["seed"] == "5eed"
    assert (folder / "ingest.log").read_text() == "said\n"
    assert (folder / "data" / "ingest").is_dir()
    assert not (folder / "data" / "store").exists()
    assert again(SOME, "5eed", 0, 0.1) == "make fault ONLY=some SEED=5eed RUN=0 SCALE=0.1"


def test_a_run_that_passes_leaves_nothing(monkeypatch, kept):
    folders = []

    def scenario(one: Trial) -> Outcome:
        folders.append(one.folder)
        return Outcome()

    running(monkeypatch, scenario)
    perform(SOME, "5eed")
    assert not folders[0].exists()
    assert not kept.exists()


def test_an_exception_is_a_failure_with_its_traceback(monkeypatch, kept):
    def scenario(one: Trial) -> Outcome:
        raise TimeoutError("store does not listen")

    running(monkeypatch, scenario)
    assert perform(SOME, "5eed").failed == "store does not listen"
    assert "scenario" in (kept / "some-0" / "traceback.txt").read_text()


@pytest.mark.parametrize(
    ("outcome", "word"),
    [
        (Outcome(doubled=["a"], doubled_readings=1), "doubled"),
        (Outcome(wrong_values=["a"], wrong_readings=1), "wrong"),
        (Outcome(unexpected=["a"]), "unexpected"),
        (Outcome(ledger_imbalance=-1), "balance by -1"),
        (Outcome(problems=["ingest used 2,000 MB"]), "2,000 MB"),
    ],
)
def test_each_finding_fails_a_run(outcome, word):
    assert word in outcome.failed


def test_names_in_the_catalogue_are_unique_and_an_unknown_one_is_refused():
    assert len({entry.id for entry in ENTRIES}) == len(ENTRIES)
    with pytest.raises(ValueError, match="kill_ingest"):
        chosen("kill_nobody")


def test_a_payload_has_the_values_and_times_that_the_checker_expects():
    sequence = Sequence("seed", 7, "water_level_m")
    batch = telemetry_pb2.ReadingBatch.FromString(sequence.payload(sequence.fixed("wl-9"), 9, 3000))
    assert list(batch.value) == [sequence.value(9, 3000 * 7 + number) for number in range(7)]
    assert batch.base_time_ms == BASE_MS + 3000 * 7
    assert list(batch.time_delta_ms) == [0, *[1] * 6]
    assert list(batch.devices) == ["wl-9"]
    assert all(0 <= value < 20 for value in batch.value)


def test_every_scenario_is_in_the_documentation_and_has_its_module():
    documentation = (ROOT / "docs" / "fault.md").read_text()
    assert [entry.id for entry in ENTRIES if f"`{entry.id}`" not in documentation] == []
    assert [entry.id for entry in ENTRIES if not (ROOT / "loadtest" / "fault" / f"{entry.module}.py").exists()] == []


def test_an_interrupted_run_leaves_nothing_behind(monkeypatch, kept):
    folders = []

    def scenario(one: Trial) -> Outcome:
        folders.append(one.folder)
        raise KeyboardInterrupt

    running(monkeypatch, scenario)
    with pytest.raises(KeyboardInterrupt):
        perform(SOME, "5eed")
    assert not folders[0].exists()
