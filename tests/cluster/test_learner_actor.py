"""Looks at how the learner gives way to those who serve."""

import os
import subprocess
import sys
import threading

import pytest

from cluster.learner_actor import AGAIN_AFTER_S, Leisure


def niceness() -> tuple[int, int]:
    """Return the calling thread, and how nice it is."""
    return threading.get_native_id(), os.getpriority(os.PRIO_PROCESS, 0)


def test_nice_work_gives_way_in_a_thread_of_its_own_and_who_asked_for_it_stays_urgent() -> None:
    mine, my_niceness = niceness()
    leisure = Leisure(3)
    (first, first_niceness), (second, second_niceness) = leisure.nicely(niceness), leisure.nicely(niceness)
    assert first == second != mine
    assert first_niceness == second_niceness == min(my_niceness + 3, 19)
    assert niceness() == (mine, my_niceness)


def test_a_thread_that_work_begins_gives_way_too() -> None:
    found: list[int] = []

    def begin() -> None:
        thread = threading.Thread(target=lambda: found.append(niceness()[1]))
        thread.start()
        thread.join()

    Leisure(3).nicely(begin)
    assert found == [min(niceness()[1] + 3, 19)]


def test_other_work_takes_only_idle_time() -> None:
    leisure = Leisure(3)
    assert leisure(lambda: os.sched_getscheduler(0)) == os.SCHED_IDLE
    assert leisure.nicely(lambda: os.sched_getscheduler(0)) == os.sched_getscheduler(0) == os.SCHED_OTHER


def test_where_there_is_no_idle_time_work_is_done_nicely_for_a_while() -> None:
    now_s = [0.0]

    def starve() -> int:
        now_s[0] += 3.0  # the clock goes on and the thread has computed next to nothing
        return policy()

    def policy() -> int:
        return os.sched_getscheduler(0)

    leisure = Leisure(3, clock_s=lambda: now_s[0])
    policies = [leisure(work) for work in (policy, starve, policy)]
    now_s[0] += AGAIN_AFTER_S
    policies.append(leisure(policy))
    assert policies == [os.SCHED_IDLE, os.SCHED_IDLE, os.SCHED_OTHER, os.SCHED_IDLE]


def test_what_work_raises_is_raised_where_it_was_asked_for() -> None:
    def fail() -> None:
        raise ZeroDivisionError

    leisure = Leisure(0)
    for do in (leisure, leisure.nicely):
        with pytest.raises(ZeroDivisionError):
            do(fail)
        assert do(lambda: 7) == 7


def test_the_actor_is_unpickled_without_what_takes_seconds_to_import() -> None:
    program = (
        "import sys, cluster.learner_actor\n"
        "print({'torch', 'onnxruntime', 'faiss', 'cv2', 'matplotlib', 'numba'} & set(sys.modules))"
    )
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert printed.stdout == "set()\n"
