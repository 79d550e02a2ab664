"""Every long job, interrupted at its I/O calls, ends as if it never was when it is typed again.

`make test` interrupts each job at its first and last call and at one call of each kind; `make
test-kill` at every FDBENCH_KILL_STRIDE-th call in each way, each way beginning at another call.
FDBENCH_KILL_SEED chooses the sample.
"""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from forked import HOWS, Calm, Forks, Site, interrupted, several_processes, two_at_once
from jobs import JOBS
from outcome import differences

STRIDE = int(os.environ.get("FDBENCH_KILL_STRIDE", "4"))
SEED = os.environ.get("FDBENCH_KILL_SEED", "0")
SHARED = [name for name, job in JOBS.items() if job.shared]


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    forks = Forks()
    yield forks
    forks.close()


def _begun(forks: Forks, tmp_path: Path, name: str) -> tuple[Site, Calm]:
    site = Site.furnished(forks, JOBS[name], tmp_path / name)
    return site, Calm.of(site)


def _sample(calm: Calm, seed: str) -> list[tuple[int, str]]:
    """The first call, the last, and one of each other kind, each interrupted in another way."""
    rng = random.Random(seed)
    kinds = [call.split()[0] for call in calm.calls]
    by_kind = {kind: [at for at, one in enumerate(kinds) if one == kind] for kind in kinds}
    others = [places for kind, places in by_kind.items() if kind not in (kinds[0], kinds[-1])]
    places = [0, len(kinds) - 1, *map(rng.choice, others)]
    hows = rng.sample(HOWS, len(HOWS))
    chosen = []
    for at in places:
        how = next(how for how in hows if calm.fits(at, how))
        hows.append(hows.pop(hows.index(how)))
        chosen.append((at, how))
    return chosen


def _failed(calm: Calm, wrong: dict[tuple[int, str], list[str]]) -> str:
    """The interruptions after which something was wrong, for a failing test."""
    lines = [
        f"{how} at call {at}, {calm.calls[at]}:\n  " + "\n  ".join(found)
        for (at, how), found in wrong.items()
        if found
    ]
    return "\n".join(lines)


@pytest.mark.parametrize("name", JOBS)
def test_a_job_interrupted_at_calls_of_every_kind_ends_as_if_it_never_was(
    forks: Forks, tmp_path: Path, name: str
) -> None:
    site, calm = _begun(forks, tmp_path, name)
    sample = _sample(calm, f"{SEED} {name}")
    assert len(sample) > 7
    failed = _failed(calm, {(at, how): interrupted(site, calm, at, how) for at, how in sample})
    assert not failed, failed


@pytest.mark.parametrize("name", ["pgd", "set", "train", "classify"])
def test_two_processes_at_once_do_no_harm(forks: Forks, tmp_path: Path, name: str) -> None:
    site, calm = _begun(forks, tmp_path, name)
    at = random.Random(f"{SEED} {name}").randrange(len(calm.calls))
    failed = _failed(calm, {(at, "two"): two_at_once(site, calm, at)})
    assert not failed, failed


@pytest.mark.parametrize("name", ["pgd", "set"])
def test_one_two_and_three_processes_end_as_one(forks: Forks, tmp_path: Path, name: str) -> None:
    site, calm = _begun(forks, tmp_path, name)
    rng, most = random.Random(f"{SEED} {name}"), len(calm.calls)
    first, then = rng.randrange(most), rng.randrange(most // 2)
    failed = _failed(calm, {(first, "kill"): several_processes(site, calm, first, then)})
    assert not failed, failed


@pytest.mark.kill
@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("name", JOBS)
def test_every_call_interrupted(forks: Forks, tmp_path: Path, name: str, how: str) -> None:
    site, calm = _begun(forks, tmp_path, name)
    fitting = [at for at in range(len(calm.calls)) if calm.fits(at, how)]
    every = 1 if how == "torn" else min(STRIDE, len(fitting))
    places = fitting[HOWS.index(how) % every :: every]
    wrong = {(at, how): interrupted(site, calm, at, how) for at in places}
    assert not _failed(calm, wrong), _failed(calm, wrong)


@pytest.mark.kill
@pytest.mark.parametrize("name", JOBS)
def test_two_processes_at_once_at_every_call(forks: Forks, tmp_path: Path, name: str) -> None:
    site, calm = _begun(forks, tmp_path, name)
    places = range(0, len(calm.calls), STRIDE)
    wrong = {(at, "two"): two_at_once(site, calm, at) for at in places}
    assert not _failed(calm, wrong), _failed(calm, wrong)


@pytest.mark.kill
@pytest.mark.parametrize("name", SHARED)
def test_other_numbers_of_processes_at_every_call(forks: Forks, tmp_path: Path, name: str) -> None:
    site, calm = _begun(forks, tmp_path, name)
    rng, most = random.Random(f"{SEED} {name}"), len(calm.calls)
    wrong = {
        (at, "kill"): several_processes(site, calm, at, rng.randrange(most // 2))
        for at in range(0, most, STRIDE)
    }
    assert not _failed(calm, wrong), _failed(calm, wrong)


def test_what_is_left_or_changed_is_noticed(forks: Forks, tmp_path: Path) -> None:
    site, calm = _begun(forks, tmp_path, "pgd")
    work = site.folder / "work" / "results"
    (work / ".run.json.1.fdbench").write_text("left")
    rows = next(work.glob("runs/*/rows-0.jsonl"))
    lines = rows.read_text().splitlines(keepends=True)
    rows.write_text("".join(lines[1:]))
    found = "\n".join(differences(calm.outcome, site.outcome()))
    assert ".run.json.1.fdbench" in found
    assert "rows/0" in found
