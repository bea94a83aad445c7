"""The retry budget: a share of the load, over the last seconds, and a few where there is hardly any."""

from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st

from prodfix.recovery.budget import RetryBudget
from tests.support.processes import in_child


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@given(
    events=st.lists(st.tuples(st.sampled_from(["try", "retry"]), st.floats(0, 3)), max_size=200),
    least=st.integers(0, 5),
)
def test_there_are_never_more_retries_than_its_share_or_the_least(events: list[tuple[str, float]], least: int) -> None:
    clock = Clock()
    budget = RetryBudget(least=least, clock=clock)
    for kind, passed in events:
        clock.now += passed
        if kind == "try":
            budget.tried()
            continue
        before = budget.status().to_json()
        taken = budget.take()
        assert taken == (before["windowRetries"] < max(least, before["windowTries"] // 5))


def test_a_storm_gets_a_fifth_and_is_counted() -> None:
    budget = RetryBudget(clock=Clock())
    taken = 0
    for _ in range(1000):
        budget.tried()
        taken += budget.take() + budget.take() + budget.take()
    assert taken == 200
    facts = budget.status().to_json()
    assert (facts["tries"], facts["retries"], facts["refusedByBudget"]) == (1000, 200, 2800)
    unbound = RetryBudget(share=3, clock=Clock())  # the control
    for _ in range(1000):
        unbound.tried()
        assert all([unbound.take(), unbound.take(), unbound.take()])


def test_a_service_with_hardly_any_traffic_may_retry_all_the_same() -> None:
    clock = Clock()
    budget = RetryBudget(clock=clock)
    budget.tried()
    assert [budget.take() for _ in range(4)] == [True, True, True, False]
    clock.now += 10.1
    assert budget.take()


def test_threads_do_not_take_more_together() -> None:
    budget = RetryBudget(least=100, clock=Clock())
    taken: list[bool] = []
    threads = [threading.Thread(target=lambda: taken.extend(budget.take() for _ in range(50))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (sum(taken), len(taken)) == (100, 400)


def test_a_forked_process_has_its_own() -> None:
    budget = RetryBudget(clock=Clock())
    assert [budget.take() for _ in range(4)][-1] is False
    assert in_child(lambda: (budget.take(), budget.status().to_json()["retries"])) == [True, 1]
    assert not budget.take()
