"""A network trained by single steps until it collapses: catastrophic overfitting.

    --model 'benchmarks/overfitted.py:overfitted' --data fashion-mini --eps 0.3

Source: Wong et al. 2020, "Fast is better than free", Sec. 5.4: FGSM training without a random start
ends in networks that FGSM hardly harms and PGD breaks wholly. Trained here, in some seconds, on the
embedded images.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fdbench.data import open_data
from fdbench.types import Images, Labels, Logits

EPS = 0.3  # linf, of the single steps
_IMAGES, _EPOCHS, _BATCH, _RATE = 3000, 20, 100, 1e-3


class Plain(nn.Module):
    """Two convolutions and two linear layers, for images of 28 pixels."""

    px = 28

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, width, 3, 2, 1), nn.ReLU(), nn.Conv2d(width, 2 * width, 3, 2, 1),
            nn.ReLU(), nn.Flatten(), nn.Linear(2 * width * 49, 64), nn.ReLU(), nn.Linear(64, 10),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.layers(x - 0.3)
        return logits


def single_step(net: nn.Module, x: Images, label: Labels) -> Images:
    """FGSM (Goodfellow et al. 2015): one step of EPS along the sign of the gradient."""
    leaf = x.clone().requires_grad_()
    logits: Logits = net(leaf)
    (grad,) = torch.autograd.grad(F.cross_entropy(logits, label), leaf)
    return (x + EPS * grad.sign()).clamp(0, 1)


def overfitted(epochs: int = _EPOCHS, seed: int = 0) -> nn.Module:
    """Trains the network; always the same one on the same machine."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        net, train = Plain(), open_data("fashion-mini", "train").fetch(range(_IMAGES))
        optimizer = torch.optim.Adam(net.parameters(), _RATE)
        for _ in range(epochs):
            for places in torch.split(torch.randperm(_IMAGES), _BATCH):
                x, label = train.x[places], train.label[places]
                adv = single_step(net, x, label)
                optimizer.zero_grad()
                F.cross_entropy(net(adv), label).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
    return net.eval()
