"""The only source of verdicts: verify, then ask the original float32 network (contract C4)."""

from dataclasses import dataclass

import torch
from torch import nn

from fdbench import verify
from fdbench.errors import FdbenchError
from fdbench.threat import Threat
from fdbench.types import Batch, Images, Labels


@torch.no_grad()
def predict(net: nn.Module, x: Images, most: int | None = None) -> Labels:
    """The class of each image, `most` of them at a time.

    Raises FdbenchError if a logit is not finite.
    """
    logits = torch.cat([net(part) for part in torch.split(x, most or len(x))])
    if not torch.isfinite(logits).all():
        raise FdbenchError("the network's logits are not finite on legal images: is it trained?")
    return logits.argmax(1)


@dataclass(frozen=True)
class Referee:
    """Judges adversaries of some images of a batch, given by their indices in it."""

    net: nn.Module
    batch: Batch
    threat: Threat
    most: int | None = None  # images a forward pass

    def __call__(self, adv: Images, index: Labels) -> Labels:
        verify.check(adv, self.batch.x[index], self.threat)
        return predict(self.net, adv, self.most)
