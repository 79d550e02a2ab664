from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Linear, frozen
from killing import killed, lines_in
from PIL import Image
from torch import Tensor

from fdbench import blackbox, randomness
from fdbench.attacks.targets import draw_targets
from fdbench.blackbox.attackers import Attacker, Known, Made, Tick
from fdbench.blackbox.make import Aim, SetPlan, make_set
from fdbench.data.open import open_data
from fdbench.errors import BadValue, FdbenchError
from fdbench.models.checkpoint import weights_hash
from fdbench.models.load import Model
from fdbench.randomness import ImageId
from fdbench.specs.attack import AttackerSpec
from fdbench.store import CLEAN, AdvSet, Workspace
from fdbench.threat import Threat
from fdbench.types import Batch, Labels
from fdbench.verdict import IllegalAdversary

EPS = 8 / 255


def silent(text: str) -> None:
    pass


def toy(name: str, reach: float = EPS, log: list[tuple[str, int]] | None = None) -> Attacker:
    """Moves each value up or down by a coin toss seeded by the image."""

    def run(batch: Batch, target: Labels | None, tick: Tick) -> Made:
        if log is not None:
            log.append((name, len(batch.ids)))
        coin = torch.from_numpy(randomness.uniform(0, name, batch.ids, batch.x.shape[1:]))
        tick()
        return Made((batch.x + reach * (coin - 0.5).sign()).clamp(0, 1), {"seen": len(batch.ids)})

    return Attacker(AttackerSpec(name, "toy"), run)


def plan(results: Path, **changes: Any) -> SetPlan:
    data, cpu = open_data("fashion-mini", "test"), torch.device("cpu")
    both = (toy("one"), toy("two"))
    made = SetPlan(
        "toys", both, data, Threat("linf", EPS), Workspace(results), cpu, limit=30, batch_size=8
    )
    return replace(made, **changes)


def images(results: Path, count: int = 30) -> dict[str, Tensor]:
    """All images of the only set, by attacker."""
    (folder,) = (results / "sets").iterdir()
    adv_set = AdvSet.open(Workspace(results), folder.name)
    return {name: adv_set.images(name, tuple(range(count))) for name in adv_set.attackers}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture
def wanted(tmp_path: Path) -> dict[str, Tensor]:
    make_set(plan(tmp_path / "wanted"), silent)
    return images(tmp_path / "wanted")


def test_images_are_whole_pixels_within_eps_of_the_clean_ones(wanted: dict[str, Tensor]) -> None:
    clean = open_data("fashion-mini", "test").fetch(range(30)).x
    for adv in wanted.values():
        assert torch.equal((255 * adv).round() / 255, adv)
        moved = (adv - clean).abs().amax()
        assert 0 < moved <= EPS + 1e-6


@pytest.mark.parametrize("batch_size", [7, 250])
def test_the_batch_size_changes_no_pixel(
    tmp_path: Path, wanted: dict[str, Tensor], batch_size: int
) -> None:
    make_set(plan(tmp_path / "b", batch_size=batch_size), silent)
    assert same(images(tmp_path / "b"), wanted)


def test_two_processes_make_the_same_set_as_one(
    tmp_path: Path, wanted: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        folder = make_set(plan(tmp_path / "two"), silent)
    assert len(list(folder.glob("index-*.jsonl"))) == 2
    assert same(images(tmp_path / "two"), wanted)
    assert AdvSet.open(Workspace(tmp_path / "two"), folder.name).counts["one"] == {"seen": 30}


def test_an_interrupted_set_resumes_where_it_stopped(
    tmp_path: Path, wanted: dict[str, Tensor]
) -> None:
    log: list[tuple[str, int]] = []
    good = toy("two")

    def stops(batch: Batch, target: Labels | None, tick: Tick) -> Made:
        if 8 in batch.ids:
            raise KeyboardInterrupt
        return good.run(batch, target, tick)

    unlucky = plan(tmp_path / "r", attackers=(toy("one"), replace(good, run=stops)))
    with pytest.raises(KeyboardInterrupt):
        make_set(unlucky, silent)
    messages: list[str] = []
    again = plan(tmp_path / "r", attackers=(toy("one", log=log), toy("two", log=log)), batch_size=5)
    make_set(again, messages.append)
    assert "36 of 60 images to make" in messages[0]
    assert sum(count for name, count in log if name == "one") == 14
    assert sum(count for name, count in log if name == "two") == 22
    assert same(images(tmp_path / "r"), wanted)


def test_the_same_plan_again_makes_nothing(tmp_path: Path) -> None:
    log: list[tuple[str, int]] = []
    folder = make_set(plan(tmp_path), silent)
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert make_set(plan(tmp_path, attackers=(toy("one", log=log), toy("two", log=log))), silent)
    assert log == []
    assert before == {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_a_larger_limit_continues_a_smaller_one(tmp_path: Path, wanted: dict[str, Tensor]) -> None:
    log: list[tuple[str, int]] = []
    make_set(plan(tmp_path / "g", limit=10), silent)
    folder = make_set(plan(tmp_path / "g", attackers=(toy("one", log=log), toy("two"))), silent)
    assert sum(count for _, count in log) == 20
    assert AdvSet.open(Workspace(tmp_path / "g"), folder.name).info.images == 30
    assert same(images(tmp_path / "g"), wanted)


_KILLED = """
import sys, time
from dataclasses import replace
from pathlib import Path
from test_make import plan, silent, toy
from fdbench.blackbox import make_set
def slow(attacker):
    def run(batch, target, tick):
        time.sleep(0.1)
        return attacker.run(batch, target, tick)
    return replace(attacker, run=run)
work = plan(Path(sys.argv[1]), batch_size=2)
make_set(replace(work, attackers=tuple(map(slow, work.attackers))), silent)
"""


def test_kill_9_loses_no_finished_batch(tmp_path: Path, wanted: dict[str, Tensor]) -> None:
    index = tmp_path.glob
    killed(lambda: lines_in(*index("k/sets/*/index-*")) >= 5, "-c", _KILLED, str(tmp_path / "k"))
    (folder,) = (tmp_path / "k" / "sets").iterdir()
    kept = AdvSet.open(Workspace(tmp_path / "k"), folder.name)
    assert 8 <= len(kept.shards) < 90
    made = [key for key in kept.shards if key[0] != CLEAN]
    for name, image in made:
        assert torch.equal(kept.images(name, [image])[0], wanted[name][int(image)])
    make_set(plan(tmp_path / "k"), silent)
    assert same(images(tmp_path / "k"), wanted)


def test_an_attacker_that_leaves_the_ball_is_refused_and_not_stored(tmp_path: Path) -> None:
    with pytest.raises(IllegalAdversary, match="limit 8/255"):
        make_set(plan(tmp_path, attackers=(toy("far", reach=9 / 255),)), silent)
    (folder,) = (tmp_path / "sets").iterdir()
    assert {name for name, _ in AdvSet.open(Workspace(tmp_path), folder.name).shards} == {CLEAN}


def test_attackers_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadValue, match="two attackers are called one"):
        make_set(plan(tmp_path, attackers=(toy("one"), toy("one"))), silent)
    assert not list(tmp_path.iterdir())


def test_less_than_a_pixel_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadValue, match="whole pixels"):
        make_set(plan(tmp_path, threat=Threat("linf", 0.5 / 255)), silent)


def linear(seed: int, classes: int = 10) -> Model:
    net = frozen(Linear(classes, 28, seed))
    return Model(f"linear-{seed}", f"here:{seed}", net, weights_hash(net.state_dict()), None)


def test_methods_of_a_battery_attack_the_surrogates(tmp_path: Path) -> None:
    known = Known((linear(0), linear(1)), (1.0, 3.0))
    data, threat = open_data("fashion-mini", "test"), Threat("linf", EPS)
    ensemble, warnings = blackbox.open_ensemble(known, data, torch.device("cpu"))
    spec = AttackerSpec("mi", "momentum", {"iters": 2})
    attackers = tuple(
        blackbox.by_method(one, ensemble, threat, 0)
        for one in (spec, AttackerSpec("coin", "noise"))
    )
    folder = make_set(plan(tmp_path, attackers=attackers, known=known, warnings=warnings), silent)
    adv_set = AdvSet.open(Workspace(tmp_path), folder.name)
    assert [s.weight for s in adv_set.info.surrogates] == [1.0, 3.0]
    assert adv_set.info.attackers[0].knobs["mu"] == 1.0, "knobs left open are recorded"
    batch = data.fetch(range(30))
    clean = ensemble.predict(batch.x)
    fooled = {
        a: (ensemble.predict(adv_set.images(a, batch.ids)) != clean) for a in adv_set.attackers
    }
    assert fooled["mi"].sum() > fooled["coin"].sum()


def test_surrogates_of_other_classes_are_refused() -> None:
    data = open_data("fashion-mini", "test")
    with pytest.raises(BadValue, match="know 5 classes, fashion-mini has 10"):
        blackbox.open_ensemble(Known((linear(0, classes=5),), (1.0,)), data, torch.device("cpu"))


def test_a_missing_generator_is_named() -> None:
    ensemble, _ = blackbox.open_ensemble(
        Known((linear(0),), (1.0,)), open_data("fashion-mini", "test"), torch.device("cpu")
    )
    spec = AttackerSpec("painter", "generator", {"weights": "no.safetensors"})
    with pytest.raises(FdbenchError, match=r"no\.safetensors.*\n.*train-attacker"):
        blackbox.by_method(spec, ensemble, Threat("linf", EPS), 0)


def test_images_from_a_folder_are_matched_by_name_and_missing_ones_counted(tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    data = open_data("fashion-mini", "test")
    for i in range(3):
        pixels = (255 * data.fetch([i]).x[0]).round().int()
        moved = (pixels + 20).clamp(max=255).byte().permute(1, 2, 0).numpy()
        Image.fromarray(moved).save(folder / f"{i}.png")
    attacker = blackbox.by_folder(folder, EPS, data.ids[:30])
    adv_set = AdvSet.open(
        Workspace(tmp_path), make_set(plan(tmp_path, attackers=(attacker,)), silent).name
    )
    assert adv_set.unattacked == {"theirs": set(range(3, 30))}
    assert adv_set.counts["theirs"]["missing"] == 27
    assert adv_set.counts["theirs"]["clipped_images"] == 3
    clean = data.fetch(range(30)).x
    assert torch.equal(adv_set.images("theirs", [7])[0], clean[7])
    assert (adv_set.images("theirs", [1])[0] - clean[1]).abs().amax() <= EPS + 1e-6
    with pytest.raises(FdbenchError, match=r"holds none of the 2 images.*500\.png"):
        blackbox.by_folder(folder, EPS, [500, 501])


def test_a_failed_submission_keeps_its_images_and_gives_a_warning(tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    script = folder / "run_attack.sh"
    script.write_text('#!/bin/sh\ncp "$1/3.png" "$2/"\necho no more\nexit 7\n')
    script.chmod(0o755)
    attacker = blackbox.by_submission(folder, EPS, 60.0)
    work = plan(tmp_path, attackers=(attacker,), limit=5)
    adv_set = AdvSet.open(Workspace(tmp_path), make_set(work, silent).name)
    assert adv_set.unattacked == {"theirs": {0, 1, 2, 4}}
    assert any("theirs: it failed with exit code 7" in text for text in adv_set.warnings)
    script.write_text('#!/bin/sh\ncp "$1"/* "$2/"\n')
    other = plan(tmp_path, attackers=(blackbox.by_submission(folder, EPS, 60.0),), limit=5)
    assert blackbox.set_info(other).digest != blackbox.set_info(work).digest


def overflowing(name: str, holds: int, log: list[tuple[str, int]]) -> Attacker:
    """The toy `name` on a machine with memory for `holds` images."""
    whole = toy(name, log=log)

    def run(batch: Batch, target: Labels | None, tick: Tick) -> Made:
        made = whole.run(batch, target, tick)
        if len(batch.ids) > holds:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return made

    return replace(whole, run=run)


def test_out_of_memory_halves_the_batch_changes_no_pixel_and_is_recorded(
    tmp_path: Path,
    wanted: dict[str, Tensor],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    log: list[tuple[str, int]] = []
    ticks: list[float] = []

    @contextmanager
    def recorded_progress(*_: Any) -> Iterator[Callable[[float], None]]:
        yield ticks.append

    monkeypatch.setattr("fdbench.blackbox.make.progress", recorded_progress)
    attackers = (overflowing("one", 3, log), toy("two", log=log))
    make_set(plan(tmp_path / "small", attackers=attackers), silent)
    assert same(images(tmp_path / "small"), wanted)
    assert log[:5] == [("one", 8), ("one", 4), ("one", 2), ("one", 2), ("one", 2)]
    assert [count for name, count in log if name == "one"].count(8) == 1, "tried once, not again"
    assert ("two", 8) in log, "one attacker's memory is not another's"
    assert sum(ticks) == pytest.approx(60), "images made again are not counted twice"
    (folder,) = (tmp_path / "small" / "sets").iterdir()
    warnings = AdvSet.open(Workspace(tmp_path / "small"), folder.name).warnings
    assert warnings == (
        "one: out of memory at 8 images a batch: went on with 4",
        "one: out of memory at 4 images a batch: went on with 2",
    )
    assert f"warning: {warnings[0]}" in capsys.readouterr().err


def test_one_image_that_does_not_fit_and_other_errors_are_raised(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="can't allocate"):
        make_set(plan(tmp_path / "a", attackers=(overflowing("one", 0, []),)), silent)

    def fails(batch: Batch, target: Labels | None, tick: Tick) -> Made:
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        make_set(plan(tmp_path / "b", attackers=(replace(toy("one"), run=fails),)), silent)


def test_random_targets_are_those_of_pgd_and_seeded_per_image(tmp_path: Path) -> None:
    seen: dict[Any, int] = {}
    plain = toy("one")

    def run(batch: Batch, target: Labels | None, tick: Tick) -> Made:
        assert target is not None
        seen.update(zip(batch.ids, target.tolist(), strict=True))
        return plain.run(batch, target, tick)

    work = plan(tmp_path, attackers=(replace(plain, run=run),), aim=Aim(), seed=5)
    adv_set = AdvSet.open(Workspace(tmp_path), make_set(work, silent).name)
    batch = work.data.fetch(range(30))
    assert adv_set.targets(batch.ids).tolist() == draw_targets(batch, 10, 5).tolist()
    assert adv_set.targets([4, 2]).tolist() == [seen[4], seen[2]]
    assert adv_set.spec.targeted
    assert adv_set.info.targets == "random"


def test_other_targets_make_another_set(tmp_path: Path) -> None:
    given: dict[ImageId, int] = dict.fromkeys(range(30), 3)
    aims = (None, Aim(), Aim(given), Aim({**given, 29: 4}))
    infos = [blackbox.set_info(plan(tmp_path, aim=aim)) for aim in aims]
    assert len({info.digest for info in infos}) == 4
    assert len({info.name for info in infos}) == 4
    assert blackbox.set_info(plan(tmp_path, aim=Aim(dict(given)))).digest == infos[2].digest


def test_an_image_without_a_target_is_named_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(BadValue, match="no target is given for 2, 3, 4, 5, 6 and 23 more"):
        make_set(plan(tmp_path, aim=Aim({0: 1, 1: 5})), silent)
    assert not list(tmp_path.iterdir())


def test_a_targeted_method_reaches_its_classes_on_the_surrogates(tmp_path: Path) -> None:
    known = Known((linear(0),), (1.0,))
    data, threat = open_data("fashion-mini", "test"), Threat("linf", EPS)
    ensemble, _ = blackbox.open_ensemble(known, data, torch.device("cpu"))
    spec = AttackerSpec("mi", "momentum", {"iters": 3})
    attacker = blackbox.by_method(spec, ensemble, threat, 0, targeted=True)
    work = plan(tmp_path, attackers=(attacker,), known=known, aim=Aim())
    adv_set = AdvSet.open(Workspace(tmp_path), make_set(work, silent).name)
    target = adv_set.targets(range(30))
    hits = ensemble.predict(adv_set.images("mi", range(30))) == target
    missed = ensemble.predict(data.fetch(range(30)).x) == target
    assert hits.sum() > missed.sum() + 10


def test_an_attacker_that_does_not_support_the_goal_is_refused(tmp_path: Path) -> None:
    data, threat = open_data("fashion-mini", "test"), Threat("linf", EPS)
    ensemble, _ = blackbox.open_ensemble(Known((linear(0),), (1.0,)), data, torch.device("cpu"))
    coin = AttackerSpec("coin", "noise")
    with pytest.raises(
        BadValue, match=r"coin \(method noise\) can't aim.*\n.*methods that can: ifg"
    ):
        blackbox.by_method(coin, ensemble, threat, 0, targeted=True)
    (tmp_path / "run_attack.sh").write_text("#!/bin/sh\n")
    (tmp_path / "run_attack.sh").chmod(0o755)
    with pytest.raises(BadValue, match=r"is of type 'attack'.*leave out --targeted"):
        blackbox.by_submission(tmp_path, EPS, 9.0, targeted=True)
    (tmp_path / "metadata.json").write_text('{"type": "targeted_attack"}')
    with pytest.raises(BadValue, match=r"is of type 'targeted_attack'.*it needs --targeted"):
        blackbox.by_submission(tmp_path, EPS, 9.0)


def test_a_targeted_submission_receives_the_sets_targets(tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    script = folder / "run_attack.sh"
    script.write_text(
        f'#!/bin/sh\ncp "$1"/*.png "$2/"\ncp "$1/target_class.csv" "{tmp_path}/seen.csv"\n'
    )
    script.chmod(0o755)
    (folder / "metadata.json").write_text('{"type": "targeted_attack"}')
    attacker = blackbox.by_submission(folder, EPS, 60.0, targeted=True)
    work = plan(tmp_path, attackers=(attacker,), limit=4, aim=Aim({0: 0, 1: 9, 2: 3, 3: 4}))
    make_set(work, silent)
    assert (tmp_path / "seen.csv").read_text().split() == [
        "0.png,1",
        "1.png,10",
        "2.png,4",
        "3.png,5",
    ]
