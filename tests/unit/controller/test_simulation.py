"""The decision in a simulated cluster: nothing interrupted, calm, quick, and no peer ahead."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.scaling import command, loads, play
from benchmarks.scaling.cluster import Cluster
from benchmarks.scaling.loads import LOADS, Load, Task
from benchmarks.scaling.ours import Ours
from benchmarks.scaling.outcome import Outcome, oracle, reversals
from benchmarks.scaling.report import beats_tuned, better_peers, verdicts
from controller.model import Spec


def simulated(tasks: list[Task], seconds: float, c: int = 5) -> Cluster:
    cluster = Cluster(tasks, concurrency=c, max_replicas=20, seed=3)
    cluster.run(Ours(Spec(concurrency=c, max_replicas=20)), seconds)
    return cluster


def poisson(per_second: float, service: float, seconds: float, seed: int) -> list[Task]:
    random_, at, tasks = random.Random(seed), 0.0, []
    while (at := at + random_.expovariate(per_second)) < seconds:
        tasks.append(Task(at, random_.expovariate(1 / service)))
    return tasks


def load(name: str) -> Load:
    return next(load for load in LOADS if load.name == name)


def test_the_first_workers_are_asked_for_within_a_second_or_two() -> None:
    cluster = simulated([Task(100.4, 5.0)] * 60, 130)
    assert cluster.sizes[:2] == [(0.0, 0), (101.0, 12)]


def test_workers_go_to_zero_when_the_work_is_done() -> None:
    cluster = simulated([Task(5.0, 2.0)] * 60, 300)
    assert (cluster.replicas, cluster.pods) == (0, [])


@pytest.mark.parametrize("seed", range(3))
def test_a_steady_load_with_its_noise_turns_the_size_seldom(seed: int) -> None:
    cluster = simulated(poisson(4, 5, 1800, seed), 1800)
    assert reversals(size for at, size in cluster.sizes if at > 300) <= 6
    assert {size for at, size in cluster.sizes if at > 300} <= {4, 5, 6, 7}


@pytest.mark.parametrize("seed", range(3))
def test_no_task_is_interrupted_and_no_busy_worker_is_terminated(seed: int) -> None:
    random_ = random.Random(seed)
    tasks = [
        Task(random_.randrange(6) * 150 + random_.random(), min(random_.paretovariate(1.1), 600))
        for _ in range(800)
    ]
    tasks.sort(key=lambda task: task.at)
    cluster = simulated(tasks, 2400, c=random_.choice([1, 3, 8]))
    assert (cluster.interrupted, cluster.terminations) == (0, [])
    assert len(cluster.waits) == 800
    assert cluster.replicas == 0


class Lowered(Ours):
    """The maximum goes from 10 to 5 at second 100."""

    def tick(self, cluster: Cluster, now: float) -> None:
        self.spec = replace(self.spec, max_replicas=10 if now < 100 else 5)
        super().tick(cluster, now)


@pytest.mark.parametrize("seed", range(3))
def test_workers_at_tasks_of_a_hundred_times_the_mean_are_not_waited_for(seed: int) -> None:
    random_ = random.Random(seed)
    short = [Task(second / 2, random_.uniform(4, 6)) for second in range(400)]
    long = [Task(40.0 + 10 * number, 500.0) for number in range(4)]
    tasks = sorted(short + long, key=lambda task: task.at)
    cluster = Cluster(tasks, concurrency=1, max_replicas=10, seed=seed)
    cluster.run(Lowered(Spec(concurrency=1)), 200)
    assert [size for at, size in cluster.sizes if at < 100][-1] == 10
    assert min(at for at, size in cluster.sizes if size == 5 and at > 100) <= 115
    assert (cluster.interrupted, cluster.terminations) == (0, [])


def test_tasks_that_become_ten_times_longer_are_met_without_oscillation() -> None:
    tasks = [Task(at, 1.0 if at < 600 else 10.0) for at in (second / 2 for second in range(3600))]
    cluster = simulated(tasks, 1800)
    assert cluster.replicas in (4, 5)
    assert reversals(size for at, size in cluster.sizes if at > 30) <= 2
    assert max(wait for task, wait in cluster.waits.items() if tasks[task].at > 630) < 30


def test_through_an_outage_no_busy_worker_goes() -> None:
    through = play.through_outage(play.OURS)
    assert (through.terminated_busy, through.interrupted) == (0, 0)
    assert through.before > 10
    assert play.through_outage(play.TUNED).terminated_busy > 0


def test_no_peer_is_better_in_both_wait_and_cost() -> None:
    short = [load("on/off"), load("bursts")]
    results = {
        load.name: {name: play.at_load(load, name, loads.SEEDS[:1]) for name in play.SCALERS}
        for load in short
    }
    assert better_peers(results) == {"on/off": [], "bursts": []}
    assert beats_tuned(results) == {"on/off": True, "bursts": True}


def test_a_seed_gives_the_same_figures_each_time() -> None:
    first = play.at_load(load("bursts"), play.OURS, [5])
    assert first == play.at_load(load("bursts"), play.OURS, [5])


def test_the_oracle_packs_tasks_into_as_few_workers_as_it_can() -> None:
    # Two slots a worker: 1 worker while one or two run, 2 while three do.
    assert oracle([Task(0, 10), Task(0, 10), Task(0, 4)], 2, 5) == 14
    # At its maximum the third waits.
    assert oracle([Task(0, 10), Task(0, 10), Task(0, 4)], 2, 1) == 14


def test_reversals_count_turns_only() -> None:
    assert reversals([0, 3, 5, 5, 4, 2, 3]) == 2


def outcome(p95: float, cost: float) -> Outcome:
    return Outcome(0, p95, p95, 0, cost, 0, 0, 0)


def test_the_verdicts_name_who_is_ahead_and_where() -> None:
    results = {
        "one": {play.OURS: outcome(3, 2), play.TUNED: outcome(4, 3)},
        "two": {play.OURS: outcome(3, 2), play.TUNED: outcome(2, 1)},
    }
    assert verdicts(results) == [
        "better in both: KEDA tuned on two",
        "better than KEDA tuned in both on 1 of 2 loads, not on two",
        "0 tasks interrupted by Headrace",
    ]


def test_the_command_writes_tables_json_and_a_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    few = Load("few", 300, 5, 5, lambda random_: [Task(at, 2.0) for at in range(0, 300, 10)])
    monkeypatch.setattr(command, "LOADS", (few,))
    files = tmp_path / "a.json", tmp_path / "a.svg"
    assert command.main(["--quick", "--json", str(files[0]), "--svg", str(files[1])]) == 0
    content = json.loads(files[0].read_text("utf-8"))
    assert set(content["loads"]["few"]) == set(play.SCALERS) == set(content["outage"])
    assert content["loads"]["few"][play.OURS]["interrupted"] == 0
    assert files[1].read_text("utf-8").startswith("<svg")
    assert "| few " in capsys.readouterr().out
