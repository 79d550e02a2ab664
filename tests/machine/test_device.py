"""Attacks, training and sharding on a device: `make test-gpu` runs them on the GPU.

Without a GPU the same tests run on a pretended one (test_pretended.py).
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Linear, Small, frozen
from killing import killed, steps_learnt
from torch import nn

import fdbench
from fdbench.attacks import last_iterate
from fdbench.attacks.transfer.catalogue import METHODS
from fdbench.errors import BadValue, SanityFailed
from fdbench.machine import start_torch
from fdbench.models import accelerate
from fdbench.specs import AttackSpec, FoolboxParameters
from fdbench.store import Run
from fdbench.store.tensors import read_tensors
from fdbench.threat import Threat
from fdbench.threat.l1 import doubled
from fdbench.training.team import team_on

pytestmark = pytest.mark.gpu

NAME = "FDBENCH_TEST_DEVICE"


@pytest.fixture
def device() -> str:
    name = os.environ.get(NAME, "cuda")
    if name == "cuda" and not torch.cuda.is_available():
        pytest.skip("PyTorch sees no GPU on this machine")
    if name == "mps" and not torch.backends.mps.is_available():
        pytest.skip("PyTorch sees no Apple GPU on this machine")
    return name


@pytest.fixture
def pretended(device: str) -> str:
    if device != "pretended":
        pytest.skip("about the pretended GPU; make test runs it there")
    return device


@pytest.fixture
def gpu(device: str) -> str:
    if device != "cuda":
        pytest.skip("about CUDA; make test-gpu runs it")
    return device


class Mixed(nn.Module):
    """Convolutions with batch norm beside a linear map, whose answers depend on the image."""

    def __init__(self) -> None:
        super().__init__()
        self.small, self.linear = Small(classes=10), Linear(10, 28, seed=0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.small(x) + self.linear(x)


def net() -> nn.Module:
    return frozen(Mixed())


@pytest.fixture
def labelled(tmp_path: Path) -> str:
    """Images with the network's own labels, so that attacks have something to do."""
    x = fdbench.open_data("fashion-mini").fetch(range(24)).x
    _write_npz(tmp_path / "labelled" / "test.npz", x, net()(x).argmax(1))
    return f"npz:{tmp_path / 'labelled'}"


def _write_npz(path: Path, x: torch.Tensor, labels: torch.Tensor) -> None:
    path.parent.mkdir(exist_ok=True)
    np.savez(path, x=(255 * x).round().byte().permute(0, 2, 3, 1).numpy(), y=labels.numpy())


def attacked(
    data: str, results: Path, device: str, attack: str | AttackSpec = "pgd", **settings: Any
) -> Run:
    return fdbench.evaluate(net(), data, attack, results=results, device=device, **settings)


def verdicts(run: Run) -> dict[Any, dict[str, Any]]:
    return {row["image"]: {"clean": row["clean"], **row["pred"]} for row in run.rows}


# Each attack family, with the share of its verdicts that two devices' rounding may change.
FAMILIES: dict[str, tuple[float, dict[str, Any]]] = {
    "pgd": (0.05, {"attack": "pgd", "iters": (1, 5)}),
    "pgd l2": (0.05, {"attack": "pgd", "norm": "l2", "eps": 0.5, "iters": (5,)}),
    "pgd margin": (0.05, {"attack": "pgd", "loss": "margin", "iters": (5,)}),
    "pgd dlr": (0.05, {"attack": "pgd", "loss": "dlr", "iters": (5,)}),
    "pgd restarts": (0.05, {"attack": "pgd", "iters": (5,), "restarts": 2, "stop_early": True}),
    "pgd eot": (0.05, {"attack": "pgd", "iters": (3,), "eot": 2}),
    "pgd random targets": (0.05, {"attack": "pgd", "iters": (5,), "targeted": True}),
    "pgd least likely": (
        0.05,
        {"attack": AttackSpec("pgd", "linf", 8 / 255, True, targets="least-likely")},
    ),
    "pgd reference": (0.05, {"attack": "pgd", "iters": (5,), "precision": "reference"}),
    "pgd bf16": (0.2, {"attack": "pgd", "iters": (5,), "precision": "bf16"}),
    "fast": (0.1, {"attack": "fast", "queries": 40}),
    "fast l2": (0.1, {"attack": "fast", "norm": "l2", "eps": 0.5}),
    "apgd": (0.1, {"attack": "apgd", "iters": 10, "classes": 2, "loss": "dlr"}),
    "sigma-zero": (0.1, {"attack": "sigma-zero", "norm": "l0", "eps": 12.0, "iters": 10}),
    "autoattack": (
        0.2,
        {"attack": "autoattack", "version": "custom", "attacks": ("apgd-ce", "fab-t", "square")},
    ),
    "autoattack l2": (
        0.2,
        {
            "attack": "autoattack",
            "version": "custom",
            "norm": "l2",
            "eps": 1.0,
            "attacks": ("apgd-t",),
        },
    ),
    "autoattack l1": (
        0.2,
        {
            "attack": "autoattack",
            "version": "custom",
            "norm": "l1",
            "eps": 12.0,
            "attacks": ("apgd-ce",),
        },
    ),
    **{
        f"foolbox {name}": (0.1, {"attack": AttackSpec("foolbox", norm, eps, parameters=one)})
        for name, norm, eps, settings in (
            ("LinfFastGradientAttack", "linf", 8 / 255, {}),
            ("L2DeepFoolAttack", "l2", 1.0, {"steps": 10}),
            ("L2CarliniWagnerAttack", "l2", 1.0, {"steps": 10, "binary_search_steps": 2}),
            ("L2AdditiveGaussianNoiseAttack", "l2", 1.0, {}),
        )
        for one in [FoolboxParameters(name=name, settings=settings)]
    },
}


@pytest.mark.parametrize("family", FAMILIES)
def test_an_attack_has_the_cpus_verdicts_and_its_images_pass_verify(
    tmp_path: Path, device: str, labelled: str, family: str
) -> None:
    share, settings = FAMILIES[family]
    limit = 6 if settings["attack"] == "autoattack" else 24
    cpu = verdicts(attacked(labelled, tmp_path / "cpu", "cpu", limit=limit, **settings))
    path = tmp_path / "device"
    run = attacked(labelled, path, device, limit=limit, save_adv="float", **settings)
    here = verdicts(run)
    assert {image: one["clean"] for image, one in here.items()} == {
        image: one["clean"] for image, one in cpu.items()
    }
    differing = sum(here[image] != cpu[image] for image in cpu)
    assert differing <= share * len(cpu)
    checks = fdbench.verify(run.path, model=net(), device=device)
    assert not [check for check in checks if check.verdict == "fail"]


@pytest.mark.parametrize("attack", ["pgd", "autoattack", "foolbox"])
def test_a_function_returns_images_on_the_device_of_its_images(device: str, attack: str) -> None:
    settings: dict[str, dict[str, Any]] = {
        "pgd": {"iters": 3},
        "autoattack": {"attacks": ["apgd-ce"]},
        "foolbox": {"attack": "LinfFastGradientAttack"},
    }
    x, here = fdbench.open_data("fashion-mini").fetch(range(4)).x.to(device), net().to(device)
    run = getattr(fdbench, attack)
    adv = run(here, x, here(x).argmax(1), eps=0.5, **settings[attack])
    assert adv.device == x.device
    assert 0 < (adv - x).abs().max() <= 0.5 + 1e-6


@pytest.mark.parametrize("method", sorted(set(METHODS) - {"generator"}))
def test_a_transfer_method_makes_the_cpus_images_but_for_rounding(device: str, method: str) -> None:
    images = fdbench.open_data("fashion-mini").fetch(range(4))

    def made(where: str) -> torch.Tensor:
        x = images.x.to(where)
        adv = fdbench.transfer([net().to(where)], x, eps=8 / 255, method=method)
        assert adv.device == x.device
        return adv.cpu()

    moved = (made(device) - made("cpu")).abs() > 1e-4
    assert moved.float().mean() < 0.2


def test_the_generator_trains_and_attacks(
    tmp_path: Path, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "devicenets.py").write_text("from test_device import net\n")
    monkeypatch.chdir(tmp_path)
    path = fdbench.train_attacker(
        ["devicenets.py:net"], "fashion-mini", epochs=1, limit=64, device=device
    )
    x = fdbench.open_data("fashion-mini").fetch(range(4)).x.to(device)
    adv = fdbench.transfer(
        [net().to(device)], x, eps=8 / 255, method="generator", weights=str(path)
    )
    assert 0 < (adv - x).abs().max() <= 8 / 255 + 1e-6


TRAINING = """
import sys
if sys.argv[2] == "pretended":
    sys.path[:0] = sys.argv[3:]
    import pretend
import fdbench
network = fdbench.ModelSpec("r20", "nonlocal-gauss", width=4)
fdbench.train(network, "npz:small", epochs=2, batch_size=92, attack_iters=1, probe_iters=1,
              results=sys.argv[1], device=sys.argv[2], threads=1)
"""


@pytest.fixture
def small_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """200 training and 20 test images, as files of the user's own."""
    monkeypatch.chdir(tmp_path)
    for split, count in (("train", 200), ("test", 20)):
        images = fdbench.open_data("fashion-mini", split).fetch(range(count))
        _write_npz(tmp_path / "small" / f"{split}.npz", images.x, images.label)


@pytest.mark.usefixtures("small_data")
def test_a_killed_training_ends_with_the_weights_of_one_that_was_not(
    tmp_path: Path, device: str
) -> None:
    words = ["-c", TRAINING, "", device, *sys.path]

    def train(results: str, until: Callable[[], bool] | None = None) -> None:
        words[2] = results
        if until is not None:
            killed(until, *words)
        subprocess.run([sys.executable, *words], check=True, capture_output=True)

    train("whole")
    state = tmp_path / "parts" / "checkpoints"
    train("parts", lambda: any(steps_learnt(path, 2) for path in state.glob("*.resume")))
    wanted, got = (
        read_tensors(next((tmp_path / one / "checkpoints").glob("*.safetensors")))[0]
        for one in ("whole", "parts")
    )
    assert all(torch.equal(wanted[name], got[name]) for name in wanted)


def test_two_processes_on_one_device_write_the_rows_of_one(
    tmp_path: Path, device: str, labelled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = attacked(labelled, tmp_path / "one", device, iters=(5,))
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in ("1", "0"):
        monkeypatch.setenv("RANK", rank)
        run = attacked(labelled, tmp_path / "two", device, iters=(5,))
    assert verdicts(run) == verdicts(wanted)


def test_a_batch_that_does_not_fit_is_halved(
    tmp_path: Path, gpu: str, capfd: pytest.CaptureFixture[str]
) -> None:
    def attack(results: str) -> Run:
        settings: dict[str, Any] = {"iters": (2,), "batch_size": 1000}
        return attacked("fashion-mini", tmp_path / results, gpu, **settings)

    torch.cuda.reset_peak_memory_stats()
    wanted = attack("whole")
    torch.cuda.empty_cache()
    share = 0.7 * torch.cuda.max_memory_allocated() / torch.cuda.mem_get_info()[1]
    torch.cuda.set_per_process_memory_fraction(share)
    try:
        run = attack("halved")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert verdicts(run) == verdicts(wanted)
    assert "out of memory at 1000 images a batch" in capfd.readouterr().err


def test_a_compiled_copy_has_the_verdicts_of_the_uncompiled_one(gpu: str) -> None:
    x = fdbench.open_data("fashion-mini").fetch(range(8)).x.to(gpu)
    plain, _ = accelerate(net().to(gpu), x)
    fused, why_not = accelerate(net().to(gpu), x, compiled=True)
    assert why_not is None
    assert torch.equal(fused(x).argmax(1), plain(x).argmax(1))


def test_the_attack_on_unjudged_images_does_not_wait_for_the_gpu(gpu: str) -> None:
    """As in training: the only wait is for the random start's numbers to be copied."""
    images = fdbench.open_data("fashion-mini").fetch(range(8)).to(torch.device(gpu))
    threat = Threat("linf", 8 / 255)
    here = net().to(gpu)
    torch.cuda.set_sync_debug_mode("error")
    try:
        last_iterate(here, images, threat, iters=3, alpha=2 / 255, stream=None, seed=0)
    finally:
        torch.cuda.set_sync_debug_mode("default")


class Peculiar(nn.Module):
    """Answers otherwise on a GPU, as a wrong kernel would."""

    def __init__(self) -> None:
        super().__init__()
        self.right = Mixed()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.right(x) * (1 if x.device.type == "cpu" else 1.01)


class Drawing(nn.Module):
    """Adds noise of the device's own generator."""

    def __init__(self) -> None:
        super().__init__()
        self.right = Mixed()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.right(x + 0.1 * torch.randn_like(x))


def test_a_device_that_computes_something_else_is_refused_before_anything_is_written(
    pretended: str, labelled: str, tmp_path: Path
) -> None:
    def run(network: nn.Module, device: str) -> Run:
        return fdbench.evaluate(
            frozen(network),
            labelled,
            "pgd",
            iters=(1,),
            limit=4,
            results=tmp_path / "r",
            device=device,
        )

    with pytest.raises(SanityFailed, match=r"(?s)differ from the CPU's by 0.01 .*--device cpu"):
        run(Peculiar(), pretended)
    assert not list((tmp_path / "r").glob("runs/*/rows*"))
    assert run(Peculiar(), "cpu").rows
    assert run(Drawing(), pretended).rows  # its own draws are no other arithmetic


def test_auto_takes_the_gpu_there_is(pretended: str) -> None:
    assert start_torch("auto", None).type == pretended
    assert start_torch("cpu", None).type == "cpu"


def test_float64_of_a_device_without_it_is_on_the_cpu(pretended: str) -> None:
    x = torch.ones(2, 3, device=pretended)
    assert doubled(x).device.type == "cpu"
    with pytest.raises(TypeError, match="no float64"):
        x.double()


def test_processes_on_an_apple_gpu_are_refused(
    pretended: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost"}.items():
        monkeypatch.setenv(name, value)
    with (
        pytest.raises(BadValue, match=r"can't connect processes on pretended. Give --device cpu"),
        team_on(torch.device(pretended)),
    ):
        pass


def test_the_pretended_gpu_refuses_what_a_real_one_refuses(pretended: str) -> None:
    x = torch.ones(2, 3, device=pretended)
    with pytest.raises(RuntimeError, match=r"tensors on pretended and on cpu"):
        x + torch.ones(2, 3)
    with pytest.raises(RuntimeError, match=r"tensors on pretended and on cpu"):
        torch.nn.functional.linear(x, torch.ones(4, 3))
    assert (x + torch.tensor(1.0)).cpu().tolist() == [[2.0] * 3] * 2
    x[0] = 5
    x.view(6).add_(1)
    assert x[torch.tensor([0])].cpu().tolist() == [[6.0] * 3]
