"""What is too long is not kept, nor more than a few."""

from store.embedded.known import Known


def test_few_and_short_ones_are_kept() -> None:
    known = Known()
    known.learn(("x" * 5000,))
    assert ("x" * 5000,) not in known
    for number in range(2000):
        known.learn((str(number),))
    kept = sum((str(number),) in known for number in range(2000))
    assert 0 < kept <= 500
    assert ("1999",) in known
