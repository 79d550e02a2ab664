"""The authors' networks compute the same once imported, and other files are refused."""

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner, Result
from seeded import GOLDEN, Array, checkpoint, images, shapes, weight

from fdbench.attacks import losses
from fdbench.attacks.pgd import trajectory
from fdbench.commands import main
from fdbench.errors import FdbenchError
from fdbench.models.load import Model, open_model
from fdbench.models.resnet import build
from fdbench.models.tensorpack import detect, read_pack, theirs
from fdbench.specs.model import ModelSpec
from fdbench.store import Workspace
from fdbench.threat import Threat
from fdbench.verdict import check

NETWORKS = {
    "r50": ModelSpec("r50", padding="same-tf", order="bgr"),
    "r50-nonlocal-gauss": ModelSpec(
        "r50", denoise="nonlocal-gauss", padding="same-tf", order="bgr"
    ),
    "x50-nonlocal-dot-all": ModelSpec(
        "x50", denoise="nonlocal-dot", denoise_at="all", padding="same-tf", order="bgr"
    ),
}


def fdbench(*words: str) -> Result:
    return CliRunner().invoke(main, list(words), prog_name="fdbench")


@dataclass(frozen=True)
class Golden:
    """A golden network imported by `fdbench import`, and the authors' code's outputs for it."""

    spec: ModelSpec
    model: Model
    outputs: dict[str, torch.Tensor]
    x: torch.Tensor  # RGB in [0, 1]
    target: torch.Tensor


@pytest.fixture(scope="module", params=NETWORKS)
def golden(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Golden:
    name: str = request.param
    folder = tmp_path_factory.mktemp("golden")
    np.savez(folder / "theirs.npz", **checkpoint(shapes(name)))  # type: ignore[arg-type]
    done = fdbench("import", f"{folder}/theirs.npz", "--results", str(folder))
    assert done.exit_code == 0, done.output
    (folder / "theirs.npz").unlink()
    bgr, target = images()
    x = torch.from_numpy(bgr[..., ::-1].copy()).permute(0, 3, 1, 2).float() / 255
    with np.load(GOLDEN / f"{name}.npz") as file:
        keys = [key for key in file.files if key not in ("names", "shapes")]
        outputs = {key: torch.from_numpy(file[key]) for key in keys}
    return Golden(
        NETWORKS[name],
        open_model(name, Workspace(folder)),
        outputs,
        x,
        torch.from_numpy(target).long(),
    )


def test_the_card_describes_the_network(golden: Golden) -> None:
    card = golden.model.card
    assert card is not None
    assert card.spec == golden.spec
    assert card.name == golden.spec.name
    assert (card.licence, card.finished) == ("CC-BY-NC-4.0", True)
    assert len(card.source_sha256) == 64


def test_logits_loss_and_gradient_are_the_authors(golden: Golden) -> None:
    x = golden.x.clone().requires_grad_()
    logits = golden.model.net(x)
    assert (logits - golden.outputs["logits"]).abs().max() < 1e-4
    loss = F.cross_entropy(logits, golden.target, reduction="none")
    assert (loss - golden.outputs["loss"]).abs().max() < 1e-4
    (grad,) = torch.autograd.grad(loss.sum(), x)
    grad = grad.flip(1) / 2  # with respect to BGR in [-1, 1], which is 2 x - 1
    assert grad.abs().mean((1, 2, 3)) == pytest.approx(golden.outputs["grad_absmean"], rel=1e-3)
    ours, authors = grad[:, :, ::16, ::16].flatten(1), golden.outputs["grad_corner"].flatten(1)
    assert torch.cosine_similarity(ours, authors).min() > 0.999


def test_three_steps_of_pgd_reach_the_authors_logits(golden: Golden) -> None:
    threat = Threat("linf", 16 / 255)
    adv = trajectory(
        golden.model.net,
        golden.x,
        golden.target,
        threat,
        budgets=[3],
        alpha=max(1, 16 / 3) / 255,
        start=golden.x,
        target=golden.target,
        loss=losses.cross_entropy,
    ).iterates[3]
    check(adv, golden.x, threat)
    with torch.no_grad():
        logits = golden.model.net(adv)
    assert (logits - golden.outputs["advlogits"]).abs().max() < 2e-3
    assert (logits - golden.outputs["logits"]).abs().max() > 0.05, "the attack moved nothing"


# The smallest network of the format: no golden outputs, but every kind of variable.
SMALL = ModelSpec("r26", denoise="nonlocal-gauss", padding="same-tf", order="bgr")


def variables(spec: ModelSpec) -> dict[str, tuple[int, ...]]:
    """The authors' names and shapes of a network, from ours."""
    sizes = {}
    for name, tensor in build(spec, device="meta").state_dict().items():
        if not name.endswith("num_batches_tracked"):
            axes = {1: (0,), 2: (1, 0), 4: (2, 3, 1, 0)}[tensor.ndim]
            sizes[theirs(name, spec)] = tuple(tensor.permute(axes).shape)
    return sizes


Change = Callable[[dict[str, Array]], object]


def zeros(spec: ModelSpec = SMALL) -> dict[str, Array]:
    return {name: np.zeros(shape, np.float32) for name, shape in variables(spec).items()}


def packed(path: Path, *changes: Change, spec: ModelSpec = SMALL) -> Path:
    arrays = zeros(spec)
    for change in changes:
        change(arrays)
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize("name", NETWORKS)
def test_names_and_shapes_are_those_of_the_authors_graph(name: str) -> None:
    assert variables(NETWORKS[name]) == shapes(name)


DETECTED = {
    "r101": ModelSpec("r101"),
    "r152-nonlocal-gauss": ModelSpec("r152", denoise="nonlocal-gauss"),
    "r152-nonlocal-dot": ModelSpec("r152", denoise="nonlocal-dot"),
    "r152-nonlocal-gauss-all": ModelSpec("r152", denoise="nonlocal-gauss", denoise_at="all"),
    "x101-nonlocal-dot-all": ModelSpec("x101", denoise="nonlocal-dot", denoise_at="all"),
}


@pytest.mark.parametrize("name", DETECTED)
def test_a_network_is_recognised_by_its_variables(name: str) -> None:
    spec = detect(variables(DETECTED[name]), "a file")
    assert spec.name == name
    assert (spec.padding, spec.order) == ("same-tf", "bgr")


RELEASED = {
    "r152": 60.344232,
    "r152-nonlocal-gauss": 71.500712,
    "x101-nonlocal-dot-all": 127.069608,
}


@pytest.mark.parametrize("name", RELEASED)
def test_the_released_networks_have_the_authors_number_of_variables(name: str) -> None:
    spec = DETECTED.get(name, ModelSpec("r152"))
    assert sum(int(np.prod(shape)) for shape in variables(spec).values()) == 1e6 * RELEASED[name]


def test_suffixes_and_training_variables_change_nothing(tmp_path: Path) -> None:
    def as_saved(arrays: dict[str, Array]) -> None:
        for name in list(arrays):
            arrays[f"{name}:0"] = arrays.pop(name) + 1
        arrays["global_step:0"] = np.array(7, np.float32)
        arrays["learning_rate"] = np.array(0.1, np.float32)
        arrays["conv0/W/Momentum:0"] = np.ones((7, 7, 3, 64), np.float32)

    def plain(arrays: dict[str, Array]) -> None:
        for name in arrays:
            arrays[name] += 1

    saved = read_pack(packed(tmp_path / "saved.npz", as_saved))
    other = read_pack(packed(tmp_path / "plain.npz", plain))
    assert saved.spec == other.spec == SMALL
    assert saved.variables == other.variables
    assert saved.sha256 != other.sha256
    assert all(torch.equal(saved.tensors[name], other.tensors[name]) for name in other.tensors)


def rename(old: str, new: str) -> Change:
    return lambda arrays: arrays.update({new: arrays.pop(old)})


def swap(one: str, other: str) -> Change:
    return lambda arrays: arrays.update({one: arrays[other], other: arrays[one]})


def put(name: str, value: object) -> Change:
    return lambda arrays: arrays.update({name: np.asarray(value)})


def without(name: str) -> Change:
    return lambda arrays: arrays.pop(name)


WRONG: dict[str, tuple[Change, str]] = {
    "a variable missing": (without("linear/b"), "missing linear/b"),
    "one too many": (put("linear2/b", np.zeros(3, np.float32)), "unexpected linear2/b"),
    "a name changed": (rename("conv0/W", "conv1/W"), "missing conv0/W"),
    "two names swapped": (
        swap("conv0/W", "linear/W"),
        "conv0/W is (2048, 1000), not (7, 7, 3, 64)",
    ),
    "a shape changed": (
        put("group1_denoise/embedding_phi/W", np.zeros((1, 1, 512, 512), np.float32)),
        "group1_denoise/embedding_phi/W is (1, 1, 512, 512), not (1, 1, 512, 256)",
    ),
    "a block missing": (
        lambda arrays: [arrays.pop(name) for name in list(arrays) if "group3/block1" in name],
        "(2, 2, 2, 1) residual blocks per stage",
    ),
    "mean and variance swapped": (
        put("conv0/bn/variance/EMA", np.full(64, -0.1, np.float32)),
        "conv0/bn/variance/EMA has negative variances",
    ),
    "integers": (put("linear/b", np.zeros(1000, np.int64)), "linear/b is int64, not float32"),
    "not finite": (put("linear/b", np.full(1000, np.nan, np.float32)), "linear/b has values that"),
    "a name twice": (put("linear/b:0", np.zeros(1000, np.float32)), "linear/b twice"),
    "pickled objects": (put("linear/b", np.array([{}], object)), "can't be read"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_file_without_a_whole_network_gives_one_clear_error(tmp_path: Path, what: str) -> None:
    change, text = WRONG[what]
    path = packed(tmp_path / "wrong.npz", change)
    result = fdbench("import", str(path), "--results", str(tmp_path / "results"))
    assert result.exit_code == 1
    assert text in result.stderr
    assert len(result.stderr.splitlines()) <= 11
    assert "Traceback" not in result.output
    assert not (tmp_path / "results").exists()


def random_bytes(path: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(10_000))


def truncated(path: Path) -> None:
    whole = packed(path).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def one_byte_flipped(path: Path) -> None:
    whole = bytearray(packed(path).read_bytes())
    whole[len(whole) // 2] ^= 1
    path.write_bytes(whole)


def images_and_labels(path: Path) -> None:
    np.savez(path, x=np.zeros((2, 8, 8, 3), np.uint8), y=np.zeros(2, np.int64))


def a_torch_file(path: Path) -> None:
    torch.save({"conv0/W": torch.zeros(3)}, path)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (random_bytes, "not a .npz file, or is cut short"),
        (truncated, "not a .npz file, or is cut short"),
        (one_byte_flipped, "can't be read"),
        (images_and_labels, "not one of the authors' networks: it holds x, y."),
        (a_torch_file, "not one of the authors' networks"),
    ],
)
def test_a_file_of_another_kind_gives_one_clear_error(
    tmp_path: Path, make: Callable[[Path], None], text: str
) -> None:
    make(tmp_path / "f.npz")
    with pytest.raises(FdbenchError, match=text) as caught:
        read_pack(tmp_path / "f.npz")
    assert "f.npz" in caught.value.message


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("--arch r152", "--arch r152 contradicts"),
        ("--denoise none", "--denoise none contradicts"),
        ("--arch r26 --denoise nonlocal-dot", "r26-nonlocal-gauss (--denoise nonlocal-gauss)"),
        ("--denoise-at all", "--denoise-at all contradicts"),
    ],
)
def test_flags_that_contradict_the_file_are_refused(tmp_path: Path, words: str, text: str) -> None:
    path = packed(tmp_path / "f.npz")
    result = fdbench("import", str(path), *words.split(), "--results", str(tmp_path / "results"))
    assert result.exit_code == 1
    assert text in result.stderr
    assert not (tmp_path / "results").exists()


def test_dry_run_describes_the_file_and_writes_nothing(tmp_path: Path) -> None:
    path = packed(tmp_path / "f.npz")
    result = fdbench("import", str(path), "--dry-run", "--results", str(tmp_path / "results"))
    assert result.exit_code == 0
    for word in (
        "r26",
        "nonlocal-gauss, stages",
        "million",
        "CC-BY-NC-4.0",
        read_pack(path).sha256,
    ):
        assert word in result.stdout
    assert [one.name for one in tmp_path.iterdir()] == ["f.npz"]


def test_a_checkpoint_of_other_weights_is_kept_without_replace(tmp_path: Path) -> None:
    words = ["--name", "mine", "--results", str(tmp_path)]
    card = tmp_path / "checkpoints" / "mine.json"
    first = packed(tmp_path / "first.npz")
    second = packed(tmp_path / "second.npz", put("linear/b", np.ones(1000, np.float32)))
    assert fdbench("import", str(first), *words).exit_code == 0
    before = card.read_text()
    assert fdbench("import", str(first), *words).exit_code == 0
    refused = fdbench("import", str(second), *words)
    assert refused.exit_code == 1
    assert "holds other weights" in refused.stderr
    assert card.read_text() == before
    assert fdbench("import", str(second), *words, "--replace").exit_code == 0
    assert json.loads(card.read_text())["source_sha256"] == read_pack(second).sha256


def test_an_imported_network_is_attacked_as_in_the_paper_by_default(
    tmp_path: Path,
) -> None:
    arrays = {name: weight(name, shape) for name, shape in variables(SMALL).items()}
    np.savez(tmp_path / "f.npz", **arrays)  # type: ignore[arg-type]
    x, y = np.zeros((1, 224, 224, 3), np.uint8), np.zeros(1, np.int64)
    np.savez(tmp_path / "x.npz", x=x, y=y, class_names=np.array([f"n{i}" for i in range(1000)]))
    results = ["--results", str(tmp_path)]
    assert fdbench("import", f"{tmp_path}/f.npz", *results).exit_code == 0
    words = ["--model", SMALL.name, "--data", f"npz:{tmp_path}/x.npz", "--split", "val", "--json"]
    done = fdbench("attack", "pgd", "--iters", "1", *words, *results)
    assert done.exit_code == 0, done.output
    (run,) = json.loads(done.stdout)
    assert run["attack"]["eps"] == 16 / 255
    assert run["attack"]["targeted"] is True
    assert run["data"]["split"] == "test"
    assert run["model"]["spec"]["padding"] == "same-tf"
    assert "licence CC-BY-NC-4.0" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", RELEASED)
def test_the_released_sizes_import_in_a_minute_and_3_gb_and_run(tmp_path: Path, name: str) -> None:
    spec = DETECTED.get(name, ModelSpec("r152"))
    arrays = {key: weight(key, shape, 1e-6) for key, shape in variables(spec).items()}
    np.savez(tmp_path / "f.npz", **arrays)  # type: ignore[arg-type]
    del arrays
    words = ["import", f"{tmp_path}/f.npz", "--results", str(tmp_path)]
    subprocess.run([sys.executable, "-m", "fdbench", *words], check=True, timeout=60)
    kilobytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss  # of the largest child
    assert kilobytes < 3e9 / 1024
    model = open_model(name, Workspace(tmp_path))
    x = torch.full((1, 3, 224, 224), 0.5, requires_grad=True)
    (grad,) = torch.autograd.grad(model.net(x).logsumexp(1).sum(), x)
    assert grad.isfinite().all()
    assert grad.abs().max() > 0
