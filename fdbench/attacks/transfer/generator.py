"""A feed-forward attacker: a network that paints the perturbation in one pass.

After iwiwi, fourth of the non-targeted track of NIPS 2017, who trained an adversarial
transformation network (Baluja and Fischer 2017) on surrogates and gave it their gradient as a hint;
much smaller here. `fdbench train-attacker` trains it (fdbench/training/generator.py).
"""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float32
from torch import Tensor, nn

from fdbench.attacks.transfer.ensemble import Task
from fdbench.attacks.transfer.method import Method
from fdbench.errors import BadValue, FdbenchError
from fdbench.files import parse_json
from fdbench.models import fill, weights_hash
from fdbench.specs import Knobs, check_of
from fdbench.store import read_finished
from fdbench.types import Images

_EPS_SCALE = 16.0  # maps eps 16/255 to about 1 in the input channel for eps

# The weight of the hint before training: tanh(1.5) = 0.9 of eps along it.
_HINT = 1.5


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.norm = nn.GroupNorm(8, width)  # per image: images of a batch don't interact

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv2(torch.relu(self.conv1(torch.relu(self.norm(x)))))
        return x + y


class Painter(nn.Module):
    """RGB (B, 3, H, W) in [0, 1], an eps and a hint per image -> perturbation in units of eps.

    The hint is the sign of the surrogates' gradient: before training the output is about a step
    along it. Residual blocks at half resolution between two convolutions at full: any image size.
    """

    def __init__(self, width: int = 16, depth: int = 3) -> None:
        super().__init__()
        self.enter = nn.Conv2d(7, width, 3, padding=1)
        self.down = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.middle = nn.Sequential(*[_Residual(2 * width) for _ in range(depth)])
        self.up = nn.Conv2d(2 * width, width, 3, padding=1)
        self.leave = nn.Conv2d(2 * width, 3, 3, padding=1)

    def forward(self, x: Images, eps: Float32[Tensor, " B"], hint: Images) -> Images:
        eps_channel = (_EPS_SCALE * eps)[:, None, None, None].expand(-1, 1, *x.shape[2:])
        fine = torch.relu(self.enter(torch.cat([2 * x - 1, eps_channel, hint], 1)))
        coarse = self.middle(self.down(fine))  # (B, 2 width, H/2, W/2)
        back = torch.relu(self.up(F.interpolate(coarse, size=x.shape[2:])))
        return torch.tanh(_HINT * hint + self.leave(torch.cat([fine, back], 1)))


def load_painter(path: Path) -> tuple[Painter, dict[str, Any]]:
    """Loads a trained painter and its card.

    Raises FdbenchError for a missing file, with the command to train one, and for any other file.
    """
    if not path.is_file():
        raise FdbenchError(
            f"no trained generator {path}.\nTrain one: fdbench train-attacker --surrogate MODEL "
            f"--data DATA --name {path.stem}\nor leave this attacker out."
        )
    tensors, metadata = read_finished(path)
    if "attacker" not in metadata:
        raise FdbenchError(
            f"{path} holds no generator: it was not written by `fdbench train-attacker`."
        )
    card = _card(path, metadata["attacker"])
    if weights_hash(tensors) != card["weights"]:
        raise FdbenchError(f"{path}: the weights are not the ones its card was written for.")
    net = Painter()
    fill(net, tensors, str(path))
    return net.eval().requires_grad_(False), card


def _card(path: Path, text: str) -> dict[str, Any]:
    """What `fdbench train-attacker` recorded. Raises FdbenchError for anything else."""
    try:
        card = parse_json(text)
        known = check_of(dict[str, Any])(card) and check_of(dict[str, Any])(card.get("data"))
        if not (known and {"name", "px"} <= set(card["data"]) and "weights" in card):
            raise ValueError("it lacks weights, or the name and px of its data")
    except ValueError as reason:
        raise FdbenchError(f"{path} has a card that can't be read: {reason}.") from reason
    return dict(card)


def count_passes(knobs: Knobs, nets: int) -> int:
    """One of each network."""
    return nets


def generator(task: Task) -> Images:
    """Takes one pass of the ensemble for the hint, one of the trained network in `weights`.

    Raises BadValue if no weights are named, FdbenchError if they are missing or were trained at
    another image size.
    """
    x = task.x
    if not task.knobs["weights"]:
        raise BadValue(
            "generator is a trained attacker: name its weights.\n"
            'fdbench.transfer(..., method="generator", weights=str(path)), with the path that '
            "fdbench.train_attacker returns."
        )
    path = Path(task.knobs["weights"])
    net, card = load_painter(path)
    if card["data"]["px"] != x.shape[-1]:
        raise FdbenchError(
            f"{path} was trained on {card['data']['name']} at {card['data']['px']} px, "
            f"these images have {x.shape[-1]}.\n"
            "Train one on such images: fdbench train-attacker --data DATA."
        )
    hint = task.objective().gradient(x).sign()
    eps = torch.full((x.shape[0],), task.threat.eps, device=x.device)
    with torch.no_grad():
        painted = net.to(x.device)(x, eps, hint)
    return task.threat.project(x + task.threat.eps * painted, x)


GENERATOR = Method(
    generator,
    count_passes,
    {"weights": ""},
    files=("weights",),
    l2=False,
    targeted=False,
)
