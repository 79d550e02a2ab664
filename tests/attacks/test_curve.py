"""The fast verdict at several radii: monotone, legal, and as each radius' own run."""

from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from conftest import frozen
from test_ascent import Counting
from test_fast_verdict import Bent, labelled, reading, subject
from torch import nn

from fdbench.attacks import Fast, Reading
from fdbench.attacks.curve import readings_at
from fdbench.commands.cli import main
from fdbench.errors import BadValue
from fdbench.specs import AttackSpec, FastParameters
from fdbench.store import read_run
from fdbench.threat import Threat
from fdbench.types import Batch
from fdbench.verdict import check

RADII = tuple(number / 510 for number in (1, 2, 4, 8))
TINY = tuple(number / 25500 for number in (1, 2, 3, 4))
SPEC = FastParameters(queries=20)


def curve_of(
    net: nn.Module, batch: Batch, radii: tuple[float, ...] = RADII, spec: FastParameters = SPEC
) -> dict[float, Reading]:
    return readings_at(subject(net, batch, Threat("linf", radii[-1])), spec, radii)


def broken(net: nn.Module, one: Reading, batch: Batch) -> torch.Tensor:
    return net(one.adv).argmax(1) != batch.label


def test_what_a_small_ball_breaks_a_larger_one_breaks_and_all_images_are_inside() -> None:
    net = frozen(Bent(nn.Identity()))
    batch = labelled(net, 16)
    before = torch.zeros(16, dtype=torch.bool)
    for radius, one in curve_of(net, batch).items():
        check(one.adv, batch.x, Threat("linf", radius))
        wrong = broken(net, one, batch)
        assert (wrong | ~before).all()
        assert [stage is not None for stage in one.notes["broken_by"]] == wrong.tolist()
        before = wrong
    assert before.sum() > 0


def test_each_radius_has_the_verdicts_of_its_own_run() -> None:
    net = frozen(Bent(nn.Identity()))
    batch = labelled(net, 12)
    for radius, one in curve_of(net, batch).items():
        alone = reading(net, batch, Threat("linf", radius), queries=20)
        assert torch.equal(broken(net, one, batch), broken(net, alone, batch))


def test_what_withstands_the_largest_radius_is_attacked_once_and_every_pass_is_counted() -> None:
    net = Counting(frozen(Bent(nn.Identity())))
    batch = labelled(net.net, 8)
    reading(net, batch, Threat("linf", TINY[0]), guard=False)
    once, net.passes = net.passes, 0
    readings = curve_of(net, batch, TINY, FastParameters(guard=False))
    assert net.passes < 1.5 * once
    assert sum(sum(one.notes["passes"]) for one in readings.values()) == net.passes


def test_images_that_are_wrong_before_are_wrong_at_every_radius() -> None:
    net = frozen(Bent(nn.Identity()))
    batch = labelled(net)
    wrong = Batch(batch.x, (batch.label + 1) % 10, batch.ids)
    for one in curve_of(net, wrong).values():
        assert one.notes["broken_by"] == ["clean"] * len(batch.ids)
        assert torch.equal(one.adv, batch.x)


def test_a_smaller_radius_alone_is_refused() -> None:
    net = frozen(Bent(nn.Identity()))
    spec = AttackSpec("fast", "linf", RADII[0], parameters=SPEC.at(RADII))
    with pytest.raises(BadValue, match="largest"):
        list(Fast().run(subject(net, labelled(net), Threat("linf", RADII[0])), spec))


@pytest.mark.parametrize(
    ("radii", "eps"), [((0.2, 0.1), 0.1), ((0.1, 0.1), 0.1), ((0.1, 0.2), 0.3), ((0.1, 2.0), 0.1)]
)
def test_radii_are_ascending_possible_and_include_eps(radii: Any, eps: float) -> None:
    with pytest.raises(BadValue):
        AttackSpec("fast", "linf", eps, parameters=FastParameters(radii=radii))


NET = """
import torch
from torch import nn

def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(384, 10)).eval()
"""


def attack(folder: Path, *extra: str) -> Any:
    (folder / "net.py").write_text(NET)
    line = [
        *("attack", "fast", "--model", f"{folder}/net.py:net", "--data", "fashion-mini"),
        *("--limit", "12", "--queries", "5", "--results", str(folder / "results"), *extra),
    ]
    return CliRunner().invoke(main, line)


def test_one_line_makes_a_run_for_each_radius_and_goes_on_where_one_lost_rows(
    tmp_path: Path,
) -> None:
    line = ("--eps", "2/255,0.5/255,1/255", "--save-adv")
    first = attack(tmp_path, *line)
    assert first.exit_code == 0
    assert first.stderr.count("guessing among") == 1, "one warning for all radii"
    runs = {
        run.info.attack.eps: run for run in map(read_run, (tmp_path / "results/runs").iterdir())
    }
    assert sorted(runs) == [0.5 / 255, 1 / 255, 2 / 255]
    lost = runs[1 / 255]
    lines = (lost.path / "rows-0.jsonl").read_text().splitlines(keepends=True)
    (lost.path / "rows-0.jsonl").write_text("".join(lines[:5]))
    assert attack(tmp_path, *line).exit_code == 0
    assert read_run(lost.path).rows == lost.rows
    assert read_run(runs[2 / 255].path).rows == runs[2 / 255].rows


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        (("--eps", "1/255,auto"), "not a size"),
        (("--eps", "1/255,2/255", "--precision", "auto"), "--precision auto"),
    ],
)
def test_lists_of_radii_that_mean_nothing_are_refused(
    tmp_path: Path, extra: tuple[str, ...], says: str
) -> None:
    result = attack(tmp_path, *extra)
    assert result.exit_code != 0
    assert says in result.output
    assert not (tmp_path / "results/runs").exists()
