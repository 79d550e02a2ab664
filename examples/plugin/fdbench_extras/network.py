"""A network that needs no weights: it tells dark images from bright ones."""

from torch import Tensor, nn


class GreyMean(nn.Module):
    """Logits that grow with the distance of the mean from the levels 0.2, 0.4, 0.6 and 0.8."""

    def forward(self, x: Tensor) -> Tensor:
        levels = x.new_tensor([0.2, 0.4, 0.6, 0.8])
        return -20 * (x.mean((1, 2, 3))[:, None] - levels).square()


def grey_mean() -> nn.Module:
    """The network in inference mode."""
    return GreyMean().eval()
