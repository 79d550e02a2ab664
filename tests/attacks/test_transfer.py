from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.fft
import scipy.ndimage
import torch
from conftest import Linear, Small, frozen
from torch import nn
from torch.nn import functional as F

from fdbench import verdict
from fdbench.attacks.transfer import METHODS, complete, count_passes
from fdbench.attacks.transfer.craft import craft
from fdbench.attacks.transfer.diverse import shrunk
from fdbench.attacks.transfer.ensemble import Ensemble, Objective
from fdbench.attacks.transfer.generator import Painter
from fdbench.attacks.transfer.phases import warped
from fdbench.attacks.transfer.shuffle import count_draws, grid
from fdbench.attacks.transfer.smoothing import smooth
from fdbench.attacks.transfer.spectrum import cosines, reweighted
from fdbench.attacks.transfer.warp import affine, identity
from fdbench.errors import BadValue, FdbenchError
from fdbench.models.checkpoint import weights_hash
from fdbench.specs import AttackerSpec, attacker_battery
from fdbench.store.tensors import write_tensors
from fdbench.threat import Threat
from fdbench.types import Batch

# Fewer of everything: the same code, quickly.
QUICK: dict[str, dict[str, Any]] = {
    "ifgsm": {"iters": 4},
    "momentum": {"iters": 4},
    "phases": {"repeats": 1},
    "smoothed": {"iters": 4},
    "diverse": {"iters": 4, "copies": 2},
    "scale": {"iters": 4, "copies": 2},
    "variance": {"iters": 4, "neighbours": 2},
    "spectrum": {"iters": 4, "copies": 2},
    "shuffle": {"iters": 4, "copies": 2},
    "mef": {"iters": 4, "neighbours": 2, "step": 0.25},
}
TRAINED = [name for name in METHODS if name != "generator"]  # that one: test_generator.py
CLIMBERS = [name for name in TRAINED if name != "noise"]
EPS = 8 / 255


class Textures(nn.Module):
    """Random 3 x 3 filters, averaged over the image: as for most networks, places matter little."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(seed)
        self.conv, self.fc = nn.Conv2d(3, 16, 3), nn.Linear(16, 5)
        with torch.no_grad():
            self.conv.weight.copy_(torch.randn(self.conv.weight.shape, generator=rng) / 2)
            self.fc.weight.copy_(torch.randn(self.fc.weight.shape, generator=rng))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(torch.relu(self.conv(x - 0.5)).mean((2, 3)))


@cache
def ensemble() -> Ensemble:
    return Ensemble((frozen(Textures(seed=0)), frozen(Textures(seed=1))), (1.0, 3.0))


def run(method: str, batch: Batch, eps: float = EPS, seed: int = 0, **rest: Any) -> torch.Tensor:
    return craft(
        method, ensemble(), batch, Threat("linf", eps), QUICK.get(method, {}), seed=seed, **rest
    )


def surprise(adv: torch.Tensor, batch: Batch) -> float:
    """The ensemble's loss against its own clean prediction."""
    clean = ensemble().predict(batch.x)
    return float(F.cross_entropy(ensemble().fused(adv), clean))


@pytest.mark.parametrize("eps", [0.3 / 255, 7.77 / 255, 0.5])
@pytest.mark.parametrize("method", TRAINED)
def test_every_method_stays_in_the_ball_and_in_the_box(
    method: str, eps: float, batch: Batch
) -> None:
    edges = Batch((batch.x * 2 - 0.5).clamp(0, 1), batch.label, batch.ids)  # many at 0 and 1
    adv = run(method, edges, eps)
    verdict.check(adv, edges.x, Threat("linf", eps))
    assert (adv - edges.x).abs().max() > 0.9 * eps


@pytest.mark.parametrize("method", [name for name in CLIMBERS if METHODS[name].l2])
def test_methods_that_can_stay_in_the_l2_ball(method: str, batch: Batch) -> None:
    threat = Threat("l2", 0.4)
    adv = craft(method, ensemble(), batch, threat, QUICK.get(method, {}), seed=0)
    verdict.check(adv, batch.x, threat)
    assert surprise(adv, batch) > surprise(batch.x, batch)


@pytest.mark.parametrize("method", [name for name in METHODS if not METHODS[name].l2])
def test_sign_methods_refuse_l2_and_name_the_methods_that_do_not(method: str, batch: Batch) -> None:
    with pytest.raises(BadValue, match=rf"{method} works in linf only.*In l2: .*momentum"):
        craft(method, ensemble(), batch, Threat("l2", 0.4), {}, seed=0)


@pytest.mark.parametrize("method", CLIMBERS)
def test_every_method_beats_noise_of_the_same_size(method: str, batch: Batch) -> None:
    clean = surprise(batch.x, batch)
    noise = max(surprise(run("noise", batch, seed=seed), batch) for seed in range(5))
    assert surprise(run(method, batch), batch) - clean > 3 * abs(noise - clean)


@pytest.mark.parametrize("method", TRAINED)
def test_results_do_not_depend_on_the_batch_boundaries(method: str, batch: Batch) -> None:
    whole = run(method, batch)
    for size in (1, 5):
        parts = [
            run(method, Batch(batch.x[at], batch.label[at], batch.ids[at]))
            for at in (slice(i, i + size) for i in range(0, 12, size))
        ]
        torch.testing.assert_close(torch.cat(parts), whole, atol=1e-6, rtol=0)


@pytest.mark.parametrize("method", TRAINED)
def test_the_global_generator_is_neither_read_nor_changed(method: str, batch: Batch) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = run(method, batch)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    assert torch.equal(one, run(method, batch))


@pytest.mark.parametrize(
    "method", ["noise", "phases", "diverse", "variance", "spectrum", "shuffle", "mef"]
)
def test_another_seed_changes_the_methods_that_draw_numbers(method: str, batch: Batch) -> None:
    assert not torch.equal(run(method, batch, seed=0), run(method, batch, seed=1))


@pytest.mark.parametrize("method", CLIMBERS)
def test_the_true_labels_are_not_used(method: str, batch: Batch) -> None:
    other = Batch(batch.x, (batch.label + 1) % 5, batch.ids)
    assert torch.equal(run(method, batch), run(method, other))


@pytest.mark.parametrize("method", CLIMBERS)
def test_a_target_is_approached(method: str, batch: Batch) -> None:
    target = (ensemble().predict(batch.x) + 2) % 5
    adv = run(method, batch, target=target)
    near = F.cross_entropy(ensemble().fused(adv), target)
    assert near < F.cross_entropy(ensemble().fused(batch.x), target) - 0.1


def test_noise_and_the_generator_cannot_be_targeted(batch: Batch) -> None:
    for method in ("noise", "generator"):
        with pytest.raises(BadValue, match=f"{method} can't aim.*Targeted: .*momentum"):
            run(method, batch, target=batch.label)


def test_a_step_ticks_once_for_each_pass_of_each_network(batch: Batch) -> None:
    for method in TRAINED:
        ticks: list[None] = []
        run(method, batch, tick=lambda into=ticks: into.append(None))
        assert len(ticks) == count_passes(method, QUICK.get(method, {}), nets=2), method


def test_the_number_of_passes_is_that_of_the_papers() -> None:
    counts = {method: count_passes(method, {}, nets=3) for method in METHODS}
    assert counts["momentum"] == counts["ifgsm"] == counts["diverse"] == 10 * 3
    assert counts["smoothed"] == 15 * 3
    assert counts["phases"] == 19 * 2 * 2
    assert counts["variance"] == 21 * 10 * 3
    assert counts["spectrum"] == counts["shuffle"] == 20 * 10 * 3
    assert counts["mef"] == 20 * 20 * 3
    assert (counts["noise"], counts["generator"]) == (1, 3)
    assert count_passes("phases", {}, nets=1) == 19 * 2


@pytest.mark.parametrize("targeted", [False, True])
def test_momentum_is_the_papers_algorithm_on_a_linear_model(batch: Batch, targeted: bool) -> None:
    """Written out with the closed-form gradient of cross-entropy, in double precision."""
    nets = [frozen(Linear(5, 8, seed)) for seed in (0, 1)]
    eps, iters = 6 / 255, 10
    target = (batch.label + 1) % 5 if targeted else None
    adv = craft(
        "momentum",
        Ensemble((nets[0], nets[1]), (1.0, 3.0)),
        batch,
        Threat("linf", eps),
        {"step": 0.0},  # eps / iters
        seed=0,
        target=target,
    )
    parts = [{k: v.double() for k, v in net.state_dict().items()} for net in nets]
    weight = (parts[0]["fc.weight"] + 3 * parts[1]["fc.weight"]) / 4
    bias = (parts[0]["fc.bias"] + 3 * parts[1]["fc.bias"]) / 4
    for i in range(12):
        x = batch.x[i].double().flatten()
        wanted, velocity = x.clone(), torch.zeros_like(x)
        clean = int((weight @ (x - 0.5) + bias).argmax())
        aim, sign = (clean, 1.0) if target is None else (int(target[i]), -1.0)
        for _ in range(iters):
            p = (weight @ (wanted - 0.5) + bias).softmax(0)
            p[aim] -= 1
            grad = sign * (p @ weight)
            velocity = 1.0 * velocity + grad / grad.abs().mean()
            wanted = wanted + eps / iters * velocity.sign()
            wanted = wanted.clamp(x - eps, x + eps).clamp(0, 1)
        torch.testing.assert_close(adv[i].double().flatten(), wanted, atol=1e-6, rtol=0)


def test_without_momentum_it_is_iterative_fgsm(batch: Batch) -> None:
    knobs = {"iters": 4, "mu": 0.0, "step": 0.0}
    still = craft("momentum", ensemble(), batch, Threat("linf", EPS), knobs, seed=0)
    assert torch.equal(still, run("ifgsm", batch))
    assert not torch.equal(still, run("momentum", batch))


def test_a_gradient_of_zero_moves_nothing(batch: Batch) -> None:
    class Flat(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (0 * x).flatten(1)[:, :5]

    flat = Ensemble((Flat(),), (1.0,))
    adv = craft("momentum", flat, batch, Threat("linf", EPS), {}, seed=0)
    assert torch.equal(adv, batch.x)


def test_smoothing_is_scipys_gaussian_filter() -> None:
    grad = torch.randn((2, 3, 12, 15), generator=torch.Generator().manual_seed(0))
    for reach, sigma in ((3.0, 1.0), (2.0, 1.5)):
        wanted = scipy.ndimage.gaussian_filter(
            grad.double().numpy(), sigma=sigma, radius=3, mode="constant", axes=(2, 3)
        )
        smoothed = smooth(grad, 7, reach)
        np.testing.assert_allclose(smoothed.numpy(), wanted, atol=1e-6)
    assert smooth(grad, 0) is grad


def test_smoothed_steps_are_the_networks_weighted_votes(batch: Batch) -> None:
    """One iteration without a kernel, written out: 1 and 3 votes of 0.4 eps."""
    knobs = {"iters": 1, "kernel": 0}
    adv = craft("smoothed", ensemble(), batch, Threat("linf", EPS), knobs, seed=0)
    clean, total = ensemble().predict(batch.x), torch.zeros_like(batch.x)
    for net, votes in zip(ensemble().nets, (0.25, 0.75), strict=True):
        leaf = batch.x.clone().requires_grad_()
        (grad,) = torch.autograd.grad(F.cross_entropy(net(leaf), clean, reduction="sum"), leaf)
        total += votes * grad.sign()
    wanted = (batch.x + 0.4 * EPS * total).clamp(0, 1)
    torch.testing.assert_close(adv, wanted, atol=1e-6, rtol=0)


def test_the_spectrum_is_scipys_cosine_transform_and_is_inverted(batch: Batch) -> None:
    image = batch.x[0, 0].double().numpy()
    spectrum = (cosines(8) @ batch.x[0, 0] @ cosines(8).mT).numpy()
    np.testing.assert_allclose(spectrum, scipy.fft.dctn(image, norm="ortho"), atol=1e-5)
    ones, nothing = torch.ones_like(batch.x), torch.zeros_like(batch.x)
    torch.testing.assert_close(reweighted(batch.x, ones, nothing), batch.x, atol=1e-5, rtol=0)


def test_an_identity_warp_returns_the_image(batch: Batch) -> None:
    views = [
        affine(batch.x, identity(batch.x)),
        warped(batch.x, 0.0, 0, "a", batch.ids),
        shrunk(batch.x, {"shrink": 0.1, "probability": 0.0}, 0, "a", batch.ids),
        shrunk(batch.x, {"shrink": 0.0, "probability": 1.0}, 0, "a", batch.ids),
    ]
    for view in views:
        torch.testing.assert_close(view, batch.x, atol=1e-5, rtol=0)


def test_a_shrunk_image_lies_whole_inside_its_grey_frame() -> None:
    """White images: the white area of each is between (1 - shrink)^2 and 1."""
    x = torch.ones(40, 3, 64, 64)
    seen = shrunk(x, {"shrink": 0.3, "probability": 1.0}, 0, "a", tuple(range(40)))
    area = ((seen[:, 0] - 0.5) * 2).mean((1, 2))
    assert area.min() > 0.7**2 - 0.02
    assert area.max() < 1.02
    assert area.std() > 0.05
    half = shrunk(x, {"shrink": 0.3, "probability": 0.5}, 0, "a", tuple(range(40)))
    whole = int((half > 0.999).flatten(1).all(1).sum())
    assert 10 <= whole <= 30


@pytest.mark.parametrize("blocks", [1, 2, 4])
def test_shuffled_blocks_without_rotation_are_the_same_pixels_elsewhere(blocks: int) -> None:
    for seed in range(5):
        numbers = np.random.default_rng(seed).random(count_draws(blocks), dtype=np.float32)
        coordinates = grid(9, 7, blocks, 0.0, numbers)
        places = ((coordinates + 1) * np.array([7, 9]) - 1) / 2
        np.testing.assert_allclose(places, places.round(), atol=1e-4)
        pixels = {(int(x), int(y)) for x, y in places.round().reshape(-1, 2)}
        assert pixels == {(x, y) for x in range(7) for y in range(9)}
    unmoved = np.stack(np.meshgrid(range(7), range(9)), 2)
    assert (blocks == 1) == np.allclose(places, unmoved, atol=1e-4)


def test_a_rotated_block_never_shows_its_neighbour() -> None:
    """With one block, the neighbour is the outside: its corners leave the grid."""
    numbers = np.ones(count_draws(1), np.float32)  # the full angle
    coordinates = grid(21, 21, 1, 45.0, numbers)
    inside = np.all(np.abs(coordinates) <= 1, axis=2)
    assert bool(inside[10, 10])
    assert not bool(inside[0, 0])
    assert 0.6 < inside.mean() < 0.95


def test_logits_are_fused_by_weight(batch: Batch) -> None:
    one, three = ensemble().nets
    wanted = (one(batch.x) + 3 * three(batch.x)) / 4
    torch.testing.assert_close(ensemble().fused(batch.x), wanted)


def test_an_ensemble_that_cannot_be_fused_is_refused(batch: Batch) -> None:
    nets = (frozen(Small(5)), frozen(Small(7)))
    with pytest.raises(FdbenchError, match=r"know 5, 7 classes.*can't be fused"):
        Ensemble(nets, (1.0, 1.0)).fused(batch.x)
    with pytest.raises(BadValue, match="2 surrogates have 1 weights"):
        Ensemble(nets, (1.0,))
    with pytest.raises(BadValue, match="greater than 0"):
        Ensemble(nets, (1.0, 0.0))
    with pytest.raises(BadValue, match="at least one --surrogate"):
        Ensemble((), ())


@pytest.mark.parametrize(
    ("method", "knobs", "message"),
    [
        ("momentun", {}, "Did you mean 'momentum'"),
        ("momentum", {"iter": 10}, "no knob of momentum 'iter'. Did you mean 'iters'"),
        ("momentum", {"iters": "10"}, "must be a whole number, like 10; got '10'"),
        ("momentum", {"iters": 10.0}, "must be a whole number"),
        ("momentum", {"iters": True}, "must be a whole number"),
        ("momentum", {"iters": 0}, "must be 1 or more"),
        ("momentum", {"mu": -1.0}, "must be 0 or more"),
        ("momentum", {"mu": float("nan")}, "must be 0 or more"),
        ("momentum", {"kernel": 4}, "odd side of a square"),
        ("diverse", {"probability": 2.0}, "is a share, from 0 to 1"),
        ("diverse", {"shrink": 1.0}, "must be below 1"),
        ("mef", {"neighbours": 0}, "mef: neighbours must be 1 or more"),
        ("mef", {"xi": -0.15}, "mef: xi must be 0 or more"),
        ("mef", {"inner_mu": 1.5}, "mef: inner_mu is a share, from 0 to 1"),
        ("generator", {"weights": 3}, "must be text"),
    ],
)
def test_an_invalid_knob_is_refused(method: str, knobs: dict[str, Any], message: str) -> None:
    with pytest.raises(BadValue, match=message):
        complete(method, knobs)


def test_a_whole_number_is_accepted_as_a_float() -> None:
    assert complete("momentum", {"mu": 1})["mu"] == 1


@pytest.mark.parametrize("method", list(METHODS))
def test_every_row_of_the_table_exists_and_its_defaults_are_allowed(method: str) -> None:
    entry = METHODS[method]
    assert getattr(entry.run, "__name__", "") == method
    assert complete(method, entry.knobs) == {**entry.knobs, **entry.later, **entry.better}
    assert count_passes(method, {}, 2) >= 1


def test_a_generator_without_weights_is_refused_with_the_training_command(
    tmp_path: Path, batch: Batch
) -> None:
    missing = str(tmp_path / "mine.safetensors")
    with pytest.raises(FdbenchError, match=r"fdbench train-attacker .*--name mine"):
        craft(
            "generator",
            ensemble(),
            batch,
            Threat("linf", EPS),
            {"weights": missing},
            seed=0,
        )


def test_a_file_without_a_generator_is_refused(tmp_path: Path, batch: Batch) -> None:
    path = tmp_path / "other.safetensors"
    write_tensors(path, Painter().state_dict(), {})
    knobs = {"weights": str(path)}
    with pytest.raises(FdbenchError, match="holds no generator"):
        craft("generator", ensemble(), batch, Threat("linf", EPS), knobs, seed=0)
    write_tensors(
        path,
        Painter().state_dict(),
        {"attacker": '{"weights": "00", "data": {"name": "d", "px": 8}}'},
    )
    with pytest.raises(FdbenchError, match="not the ones its card was written for"):
        craft("generator", ensemble(), batch, Threat("linf", EPS), knobs, seed=0)
    net = Painter()
    card = f'{{"weights": "{weights_hash(net.state_dict())}", "data": {{"name": "d", "px": 32}}}}'
    write_tensors(path, net.state_dict(), {"attacker": card})
    with pytest.raises(FdbenchError, match="trained on d at 32 px, these images have 8"):
        craft("generator", ensemble(), batch, Threat("linf", EPS), knobs, seed=0)


CLIMBING = [name for name in METHODS if METHODS[name].later]


@pytest.mark.parametrize("method", CLIMBING)
def test_the_step_is_the_one_asked_for(method: str, batch: Batch) -> None:
    threat, one = Threat("linf", 0.1), {"iters": 1}
    usual = 0.1 * float(METHODS[method].better.get("step", 1.0))
    asked: Any = (({}, usual), ({"step": 0.0}, 0.1), ({"step": 0.3}, 0.03), ({"alpha": 0.02}, 0.02))
    for knobs, step in [({**one, **more}, size) for more, size in asked]:
        adv = craft(method, ensemble(), batch, threat, knobs, seed=0)
        assert (adv - batch.x).abs().max() == pytest.approx(step, rel=1e-5)


def test_the_logit_loss_follows_one_logit_only(batch: Batch) -> None:
    nets, target = ensemble(), (batch.label + 1) % 4
    leaf = batch.x.clone().requires_grad_()
    (wanted,) = torch.autograd.grad(nets.fused(leaf).gather(1, target[:, None]).sum(), leaf)
    aimed = Objective.of(nets, batch, target, lambda: None, "logit")
    assert torch.allclose(aimed.gradient(batch.x), wanted)
    (away,) = torch.autograd.grad(-nets.fused(leaf).amax(1).sum(), leaf)
    untargeted = Objective.of(nets, batch, None, lambda: None, "logit")
    assert torch.allclose(untargeted.gradient(batch.x), away)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [({"loss": "dlr"}, "no momentum: loss 'dlr'"), ({"alpha": -0.1}, "alpha must be 0 or more")],
)
def test_a_step_or_loss_that_does_not_exist_is_refused(
    batch: Batch, knobs: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadValue, match=message):
        craft("momentum", ensemble(), batch, Threat("linf", EPS), knobs, seed=0)


def test_later_knobs_at_their_defaults_are_not_recorded_and_sizes_may_be_text() -> None:
    for attacker in attacker_battery("caad2017").attackers:
        entry = METHODS[attacker.method]
        recorded = entry.recorded(entry.complete(attacker.method, attacker.knobs))
        assert recorded.keys() == entry.knobs.keys(), "sets made so far keep their names"
    mine = AttackerSpec.of({"name": "m", "method": "momentum", "alpha": "2/255"}, "a test")
    entry = METHODS["momentum"]
    recorded = entry.recorded(entry.complete("momentum", mine.knobs))
    assert recorded["alpha"] == 2 / 255
