"""A run's network and data must behave as when it began, whatever their hashes say."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Linear, frozen
from scripted import pgd_spec
from torch import nn

from fdbench.attacks import PGD
from fdbench.data import Dataset, open_data
from fdbench.errors import FdbenchError
from fdbench.evaluation import audit, evaluate, read_run
from fdbench.evaluation.behaviour import LIMIT, PIXEL_LIMIT, difference, keep, kept, observe
from fdbench.evaluation.evaluation import Evaluation
from fdbench.models import RELATIVE, Model, weights_hash
from fdbench.store import RunPaths, Workspace, read_info
from fdbench.store.run_json import write_info
from fdbench.verdict import deciding

CPU = torch.device("cpu")
DATA = open_data("fashion-mini")


class Scaled(Linear):
    """A network whose code scales its images, as a normalisation does; parameters stay the same."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__(10, 28, seed=0)
        self.scale = scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x * self.scale)


class Noisy(Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x + 0.1 * torch.randn_like(x))


class NoisyByOthers(Linear):
    """Draws numbers that PyTorch's seed does not fix."""

    rng = torch.Generator()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x + 0.1 * torch.randn(x.shape, generator=self.rng))

    def __deepcopy__(self, memo: object) -> "NoisyByOthers":
        return self


def job(results: Path, net: nn.Module, **changes: Any) -> Evaluation:
    model = Model("net", "mine:net", frozen(net), weights_hash(net.state_dict()), None)
    spec, workspace = pgd_spec(iters=(2,)), Workspace(results)
    return replace(
        Evaluation(model, DATA, PGD(), spec, workspace, CPU, limit=20, batch_size=10), **changes
    )


def silent(text: str) -> None:
    pass


def inverted(data: Dataset) -> Dataset:
    """Data of the same names, sizes and labels whose reader changed."""
    return replace(data, read=lambda *which: 1 - data.read(*which))


def test_code_that_changed_between_two_commands_does_not_give_the_old_result(
    tmp_path: Path,
) -> None:
    folder = evaluate(job(tmp_path, Scaled()), silent)
    with pytest.raises(FdbenchError, match="answers differently than when this run began") as error:
        evaluate(job(tmp_path, Scaled(0.5)), silent)
    assert f"fdbench runs archive {folder.name}" in error.value.message


def test_an_interrupted_run_is_not_finished_by_changed_code(tmp_path: Path) -> None:
    folder = evaluate(job(tmp_path, Scaled(), limit=10), silent)
    before = (folder / "rows-0.jsonl").read_bytes()
    with pytest.raises(FdbenchError, match="answers differently"):
        evaluate(job(tmp_path, Scaled(0.5), limit=20), silent)
    assert (folder / "rows-0.jsonl").read_bytes() == before


def test_images_that_are_read_differently_are_refused(tmp_path: Path) -> None:
    evaluate(job(tmp_path, Scaled()), silent)
    with pytest.raises(FdbenchError, match="the images are not those this run began with"):
        evaluate(job(tmp_path, Scaled(), data=inverted(DATA)), silent)


@pytest.mark.parametrize("change", [{}, {"limit": 30}, {"batch_size": 3}])
def test_the_same_code_and_data_continue(tmp_path: Path, change: dict[str, Any]) -> None:
    folder = evaluate(job(tmp_path, Scaled(), limit=2), silent)
    assert evaluate(job(tmp_path, Scaled(), **change), silent) == folder


def test_rounding_of_other_hardware_passes_and_a_tenfold_of_it_does_not() -> None:
    net = frozen(Scaled())
    then = observe(net, DATA, 20, CPU)
    least, largest = float(deciding(then.fixed).min()), float(then.fixed.abs().max())
    off = replace(then, fixed=then.fixed + 0.5 * LIMIT * least)
    assert difference(off, then) == ""
    assert difference(replace(then, fixed=then.fixed + 2 * LIMIT * largest), then) != ""
    assert LIMIT == 10 * RELATIVE
    assert difference(replace(then, pixels=then.pixels + PIXEL_LIMIT * 0.9), then) == ""


def test_logits_that_became_nan_differ() -> None:
    then = observe(frozen(Scaled()), DATA, 20, CPU)
    assert difference(replace(then, first=then.first * torch.nan), then) != ""


def test_another_number_of_classes_differs() -> None:
    then = observe(frozen(Scaled()), DATA, 20, CPU)
    fewer = replace(then, fixed=then.fixed[:, :9], first=then.first[:, :9])
    assert "answers differently" in difference(fewer, then)


def test_a_network_of_pytorchs_random_numbers_continues(tmp_path: Path) -> None:
    net = Noisy(10, 28, seed=0)
    folder = evaluate(job(tmp_path, net), silent)
    torch.manual_seed(5)
    said: list[str] = []
    assert evaluate(job(tmp_path, net), said.append) == folder
    assert not any("warning" in text for text in said)


def test_random_numbers_from_elsewhere_continue_with_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = NoisyByOthers(10, 28, seed=0)
    folder = evaluate(job(tmp_path, net), silent)
    assert evaluate(job(tmp_path, net), silent) == folder
    assert "can't be checked" in capsys.readouterr().err


def checks_of(run: Path, net: nn.Module, data: Dataset = DATA) -> dict[str, tuple[str, str]]:
    model = Model("net", "mine:net", frozen(net), weights_hash(net.state_dict()), None)
    checks = audit(read_run(run), model, data, CPU)
    return {check.check: (check.verdict, check.found) for check in checks}


def test_verify_finds_changed_code_and_changed_images(tmp_path: Path) -> None:
    run = evaluate(job(tmp_path, Scaled()), silent)
    assert checks_of(run, Scaled())["behaviour"][0] == "pass"
    verdict, text = checks_of(run, Scaled(0.5))["behaviour"]
    assert (verdict, "answers differently" in text) == ("fail", True)
    verdict, text = checks_of(run, Scaled(), inverted(DATA))["behaviour"]
    assert (verdict, "images are not those" in text) == ("fail", True)


def test_a_record_of_behaviour_that_was_deleted_or_changed_is_found(tmp_path: Path) -> None:
    run = evaluate(job(tmp_path, Scaled()), silent)
    path = RunPaths(run).behaviour
    keep(path.with_name("other.safetensors"), observe(Scaled(2), DATA, 4, CPU))
    path.with_name("other.safetensors").replace(path)
    assert checks_of(run, Scaled())["behaviour"][0] == "fail"
    path.unlink()
    assert checks_of(run, Scaled())["behaviour"][0] == "fail"
    assert kept(path) is None


def test_a_run_whose_record_of_behaviour_was_deleted_continues_with_a_warning(
    tmp_path: Path,
) -> None:
    run = evaluate(job(tmp_path, Scaled()), silent)
    RunPaths(run).behaviour.unlink()
    evaluate(job(tmp_path, Scaled()), silent)
    warnings = read_info(RunPaths(run).description).warnings
    assert "whether the network changed can't be checked" in "".join(warnings)
    assert checks_of(run, Scaled())["behaviour"][0] == "pass"


def test_runs_of_earlier_versions_have_no_record_of_behaviour(tmp_path: Path) -> None:
    run = evaluate(job(tmp_path, Scaled()), silent)
    RunPaths(run).behaviour.unlink()
    info = read_info(RunPaths(run).description)
    write_info(RunPaths(run).description, replace(info, found={}))
    assert checks_of(run, Scaled())["behaviour"][0] == "skipped"
