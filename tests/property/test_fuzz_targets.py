"""Every fuzz target for a moment, from a fixed seed: `make fuzz` runs them for longer."""

import pytest

from tests.fuzz import runner
from tests.fuzz.mutator import MAX_BYTES, Mutator

SECONDS = 1.0
SEED = 20_260_101


@pytest.mark.parametrize("target", runner.targets())
def test_target_finds_nothing_in_a_moment(target):
    outcome = runner.run(target, SECONDS, SEED)
    assert outcome.problem == "", f"{outcome.input_path}\n{outcome.output}"
    assert outcome.runs > 0


def test_the_same_seed_gives_the_same_inputs():
    first, second, other = (Mutator([b"abc", bytes(100)], seed) for seed in (1, 1, 2))
    inputs = [first.next() for _ in range(500)]
    assert inputs == [second.next() for _ in range(500)]
    assert inputs != [other.next() for _ in range(500)]
    assert inputs[:2] == [b"abc", bytes(100)]
    assert max(map(len, inputs)) <= MAX_BYTES


@pytest.mark.parametrize("engine", sorted({"mutator", runner.best_engine()}))
@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("assert data != b'bad'", "failed with status 1"),
        ("import os, signal\n    data == b'bad' and os.kill(os.getpid(), signal.SIGSEGV)", "ended by signal 11"),
    ],
    ids=["raises", "crashes"],
)
def test_what_breaks_a_target_is_kept_and_breaks_it_again(monkeypatch, tmp_path, body, problem, engine):
    package = tmp_path / "tests" / "fuzz"
    package.mkdir(parents=True)
    for name in ("child", "mutator"):
        (package / f"{name}.py").write_text((runner.ROOT / "tests" / "fuzz" / f"{name}.py").read_text())
    (package / "breaks.py").write_text(f"CORPUS = [b'good', b'bad']\n\n\ndef fuzz_one(data):\n    {body}\n")
    monkeypatch.setattr(runner, "ROOT", tmp_path)
    monkeypatch.setattr(runner, "FOLDER", tmp_path / "kept")
    outcome = runner.run("breaks", 5.0, 1, engine)
    if engine == "mutator":
        assert (outcome.problem, outcome.runs) == (problem, 2)
    assert outcome.problem
    assert outcome.input_path is not None
    assert outcome.input_path.read_bytes() == b"bad"
    assert runner.run("breaks", 0.0, 1, repeat=outcome.input_path).problem == problem
