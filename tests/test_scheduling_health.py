"""Which machines are well enough for runs."""

import pytest

from runner.messages import HostReport
from runner.model import Kind
from runner.scheduling.health import FIRST_PAUSE, LONGEST_PAUSE, MOST_IN_A_ROW, TROUBLED, Ward


def report(host: str = "red", *, trouble: str = "", image: str = "") -> HostReport:
    return HostReport(host, 4, trouble=trouble, image=image)


def is_well(ward: Ward, now: float, host: str = "red") -> bool:
    return ward.complaint(report(host), now) == ""


def suspect(ward: Ward, now: float = 10.0) -> None:
    """Let blue do well and red crash as often as it takes."""
    for number in range(MOST_IN_A_ROW):
        ward.take_outcome("red", "crash", now + number)
    ward.take_outcome("blue", "done", now + MOST_IN_A_ROW)


@pytest.mark.parametrize("kind", ["crash", "lost"])
def test_a_machine_on_which_runs_crash_or_get_lost_while_others_do_well_is_unwell(kind: Kind) -> None:
    # Given a machine on which two runs in a row came to nothing, while another does well
    ward = Ward()
    for now in (1.0, 3.0):
        ward.take_outcome("red", kind, now)
    ward.take_outcome("blue", "done", 3.5)
    assert is_well(ward, 4.0)
    # When a third does
    ward.take_outcome("red", kind, 5.0)
    # Then it gets nothing for a while, and the reason says how that can be ended
    complaint = ward.complaint(report(), 6.0)
    assert complaint == (
        "3 runs in a row crashed or were lost here; it is left alone for 30 s (labfleet undrain red ends that)"
    )
    assert is_well(ward, 6.0, "blue")
    assert is_well(ward, 5.0 + FIRST_PAUSE)


@pytest.mark.parametrize("blue_did_well_at", [None, 0.5])
def test_where_all_machines_fail_it_is_not_the_machine(blue_did_well_at: float | None) -> None:
    # Given a model that crashes everywhere, also if another machine did well before
    ward = Ward()
    if blue_did_well_at is not None:
        ward.take_outcome("blue", "done", blue_did_well_at)
    for now in range(1, 20):
        ward.take_outcome("red", "crash", float(now))
        ward.take_outcome("blue", "crash", float(now))
    # When asked, then both get runs
    assert is_well(ward, 21.0)
    assert is_well(ward, 21.0, "blue")
    assert not ward.trial("red")


def test_its_own_success_does_not_make_a_machine_suspect() -> None:
    # Given the only machine of a lab, on which some runs are done and many crash
    ward = Ward()
    for now in range(30):
        ward.take_outcome("red", "done" if now % 5 == 0 else "crash", float(now))
    # When asked, then it gets runs
    assert is_well(ward, 30.0)


@pytest.mark.parametrize("kind", ["error", "timeout", "stalled", "out-of-memory", "cancelled"])
def test_what_is_the_run_s_own_fault_is_not_the_machine_s(kind: Kind) -> None:
    # Given a machine on which many runs fail by themselves, while another does well, when asked, then it is well
    ward = Ward()
    for now in range(10):
        ward.take_outcome("red", kind, float(now))
        ward.take_outcome("blue", "done", float(now))
    assert is_well(ward, 10.0)


def test_a_run_that_is_done_ends_the_row() -> None:
    # Given crashes with a run in between that is done, while another machine does well, when asked, then it is well
    ward = Ward()
    for now, kind in enumerate[Kind](("crash", "crash", "done", "crash", "crash")):
        ward.take_outcome("red", kind, float(now))
        ward.take_outcome("blue", "done", float(now))
    assert is_well(ward, 6.0)


def test_what_gets_lost_together_has_one_reason() -> None:
    # Given a machine that loses all of its eight slots at once, as its agent died, while another does well
    ward = Ward()
    ward.take_outcome("blue", "done", 20.0)
    for now in (1.0, 5.0):
        for _ in range(8):
            ward.take_outcome("red", "lost", now)
    # When that happened less often than it may, then it is well; the next time it is not
    assert is_well(ward, 6.0)
    for _ in range(8):
        ward.take_outcome("red", "lost", 7.0)
    assert not is_well(ward, 8.0)
    # And it is not left alone for longer because it has many slots
    assert is_well(ward, 7.0 + FIRST_PAUSE)


def test_what_expires_in_one_silence_has_one_reason() -> None:
    # Given a machine of which nothing is heard, whose leases expire one by one, while another one does well
    ward = Ward()
    for second in range(10, 16):
        ward.take_silence("red", float(second))
    ward.take_outcome("blue", "done", 16.0)
    # When it is heard again, then it is well
    assert is_well(ward, 17.0)
    # … and when it falls silent again and again, without a run that is done, it is not
    for now in (40.0, 60.0):
        assert is_well(ward, now)
        ward.take_outcome("blue", "done", now)
        ward.take_silence("red", now)
    assert not is_well(ward, 60.0)


def test_what_was_begun_before_a_machine_was_left_alone_is_no_further_failure() -> None:
    # Given a machine that is left alone
    ward = Ward()
    suspect(ward)
    ward.take_outcome("red", "crash", 20.0)
    # When runs that it had begun crash, too
    for now in range(21, 30):
        ward.take_outcome("red", "crash", float(now))
    # Then it gets its run when that was said
    assert not is_well(ward, 19.9 + FIRST_PAUSE)
    assert is_well(ward, 20.0 + FIRST_PAUSE)


def test_after_a_pause_a_machine_gets_one_run_and_is_well_when_that_is_done() -> None:
    # Given a machine whose pause is over
    ward = Ward()
    suspect(ward)
    ward.take_outcome("red", "crash", 20.0)
    assert is_well(ward, 60.0)
    # Then it may have one run at a time, and it is told why
    assert ward.trial("red") == "4 runs in a row crashed or were lost here: it gets one at a time until one is done"
    assert not ward.trial("blue")
    # And when one is done, it is well, as if nothing had been
    ward.take_outcome("red", "done", 61.0)
    assert not ward.trial("red")
    ward.take_outcome("red", "crash", 62.0)
    assert is_well(ward, 63.0)


def test_each_failure_on_trial_makes_the_pause_twice_as_long() -> None:
    # Given a machine that is suspect
    ward = Ward()
    suspect(ward)
    now = 100.0
    pauses = []
    for _ in range(7):
        # When its run crashes whenever it gets one
        ward.take_outcome("red", "crash", now)
        pause = next(seconds for seconds in range(2000) if is_well(ward, now + seconds))
        pauses.append(float(pause))
        now += pause
    # Then it gets the next one later and later, but never too late
    assert pauses == [FIRST_PAUSE, 60.0, 120.0, 240.0, 480.0, LONGEST_PAUSE, LONGEST_PAUSE]


def test_a_machine_s_own_complaint_counts_as_long_as_it_makes_it() -> None:
    # Given a machine that says that its disk is full, when asked, then that is the reason; without it, it is well
    ward = Ward()
    assert ward.complaint(report(trouble="its disk is full"), 1.0) == "its disk is full"
    assert is_well(ward, 1.0)


def test_a_machine_with_another_image_is_unwell() -> None:
    # Given a lab with an image
    ward = Ward("sha256:new")
    # When a machine has another one, then it gets nothing, and the reason says what to do
    complaint = ward.complaint(report(image="sha256:old"), 1.0)
    assert complaint == ("its image is sha256:old, the lab's is sha256:new: labfleet provision --limit red")
    # And the same image, or none told yet, is right; where the lab has none, any is
    assert ward.complaint(report(image="sha256:new"), 1.0) == ""
    assert is_well(ward, 1.0)
    assert Ward().complaint(report(image="sha256:old"), 1.0) == ""


def test_a_slot_s_trouble_keeps_runs_away_until_the_report_says_what_it_is() -> None:
    # Given a slot that could not do its chunk
    ward = Ward()
    ward.take_trouble("red", "OSError: no space left", 10.0)
    # When another chunk is to be given out right then, then not to this machine; some seconds later it may be
    assert ward.complaint(report(), 10.0 + TROUBLED - 0.1) == "OSError: no space left"
    assert is_well(ward, 10.0 + TROUBLED)
    assert is_well(ward, 10.0, "blue")


def test_a_run_that_is_done_does_not_end_another_slot_s_trouble() -> None:
    # Given a machine one of whose slots has trouble, when another slot does a run, then the trouble stays
    ward = Ward()
    ward.take_trouble("red", "OSError: no space left", 10.0)
    ward.take_outcome("red", "done", 11.0)
    assert not is_well(ward, 11.0)


def test_somebody_can_say_that_a_machine_is_well() -> None:
    # Given a machine that is suspect and in trouble
    ward = Ward()
    suspect(ward)
    ward.take_outcome("red", "crash", 20.0)
    ward.take_trouble("red", "odd", 20.0)
    # When somebody says that it is well, then it is, without a trial
    ward.forgive("red")
    assert is_well(ward, 20.0)
    assert not ward.trial("red")
