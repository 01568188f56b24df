"""For how long nobody could be asked: what may have been sent is given up by it."""

from __future__ import annotations

from datetime import timedelta

from workers.gateway.silence import Silence


def test_it_grows_from_failure_to_failure_and_ends_with_what_works() -> None:
    times = iter((100.0, 130.0, 190.0, 500.0, 510.0))
    silence = Silence(lambda: next(times))
    assert silence.lasted() == timedelta()
    for _ in range(3):
        silence.failed()
    assert silence.lasted() == timedelta(seconds=90)
    silence.ended()
    assert silence.lasted() == timedelta()
    silence.failed()
    assert silence.lasted() == timedelta()
    silence.failed()
    assert silence.lasted() == timedelta(seconds=10)


def test_hours_in_which_nobody_tried_are_no_hours_of_silence() -> None:
    times = iter((0.0, 18_000.0, 36_000.0))
    silence = Silence(lambda: next(times))
    for _ in range(3):
        silence.failed()
    assert silence.lasted() == timedelta(minutes=6), "three for each"
