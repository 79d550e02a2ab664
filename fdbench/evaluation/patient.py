"""The patient of the doctor: a network, its images, the threat, and what PGD leaves of it."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import nn

from fdbench.attacks import Loss, cross_entropy, last_iterate
from fdbench.threat import Threat
from fdbench.types import Batch, Images, Logits


@dataclass
class Patient:
    """A network in inference mode, the images to test it on, and the threat it should resist."""

    net: nn.Module
    batch: Batch
    threat: Threat
    classes: int
    seed: int = 0
    eot: int = 1  # above 1: the network draws random numbers, and attacks average over N passes
    expected: tuple[float, float] | None = None  # clean accuracy and its tolerance, in percent
    surrogates: tuple[nn.Module, ...] = ()

    @torch.no_grad()
    def logits(self, x: Images) -> Logits:
        logits: Logits = self.net(x)
        return logits

    def right(self, adv: Images) -> list[bool]:
        """Returns which images are classified correctly."""
        verdict: list[bool] = (self.logits(adv).argmax(1) == self.batch.label).tolist()
        return verdict

    def attacked(self, iters: int, eps: float | None = None, loss: Loss = cross_entropy) -> Images:
        """Returns the last iterate of untargeted PGD in this threat, or in linf at `eps`."""
        threat = self.threat if eps is None else Threat("linf", eps)
        return last_iterate(
            self.net,
            self.batch,
            threat,
            iters=iters,
            alpha=threat.eps / 4,
            stream="doctor",
            seed=self.seed,
            eot=self.eot,
            loss=loss,
        )

    @cached_property
    def randomness(self) -> float:
        """The largest difference of logits between two passes over the same images."""
        x = self.batch.x
        return float((self.logits(x) - self.logits(x)).abs().max())

    @cached_property
    def clean(self) -> list[bool]:
        return self.right(self.batch.x)

    @cached_property
    def pgd10(self) -> list[bool]:
        return self.right(self.attacked(10))

    @cached_property
    def adv100(self) -> Images:
        return self.attacked(100)

    @cached_property
    def pgd100(self) -> list[bool]:
        return self.right(self.adv100)
