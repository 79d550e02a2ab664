"""The patient of the doctor: a network, its images, the threat, and what gradients leave of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Int64
from torch import Tensor, nn

from fdbench.attacks import Loss, Trajectory, cross_entropy, dlr, margin, random_start, trajectory
from fdbench.threat import Threat
from fdbench.types import Batch, Images, Labels, Logits

Left = Int64[Tensor, " L"]  # places of the batch, fewer than were given

FEW_STEPS, STEPS = 10, 100  # of PGD; one trajectory is read at both


@dataclass
class Patient:
    """A network in inference mode, the images to test it on, and the threat it should resist.

    Images that it gets wrong when clean are not attacked: they count as broken everywhere.
    """

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

    def some(self, places: Labels) -> Batch:
        """The images at some places in the batch."""
        ids = tuple(self.batch.ids[place] for place in places.tolist())
        return Batch(self.batch.x[places], self.batch.label[places], ids)

    def stand(self, adv: Images, places: Labels) -> Left:
        """Which of these places are still classified correctly, given their images."""
        if not len(places):
            return places
        return places[self.logits(adv).argmax(1) == self.batch.label[places]]

    def listed(self, places: Labels) -> list[bool]:
        """For each image of the batch, whether it is at one of the places."""
        mask = torch.zeros(len(self.batch.ids), dtype=torch.bool)
        mask[places.cpu()] = True
        verdicts: list[bool] = mask.tolist()
        return verdicts

    def path(
        self,
        places: Labels,
        iters: Sequence[int],
        *,
        eps: float | None = None,
        loss: Loss = cross_entropy,
        net: nn.Module | None = None,
        eot: int | None = None,
        stop_early: bool = True,
    ) -> Trajectory:
        """Untargeted PGD from random starts, in this threat, or in linf at `eps`.

        An image stops at its first wrong iterate with `stop_early`. `net` is differentiated in
        place of the patient's, whose verdicts count.
        """
        threat = self.threat if eps is None else Threat("linf", eps)
        batch = self.some(places)

        def judge(adv: Images, index: Labels) -> Labels:
            return self.logits(adv).argmax(1)

        return trajectory(
            net or self.net,
            batch.x,
            batch.label,
            threat,
            budgets=iters,
            alpha=threat.eps / 4,
            start=random_start(batch.ids, batch.x, threat, "doctor", self.seed),
            loss=loss,
            judge=judge,
            eot=eot or self.eot,
            stop_early=stop_early,
        )

    def survivors(self, places: Labels, iters: int, **settings: object) -> Left:
        """The places that PGD of so many iterations leaves right, at every iterate."""
        if not len(places):
            return places
        path = self.path(places, [iters], **settings)  # type: ignore[arg-type]
        never = path.first_wrong == 0
        return self.stand(path.iterates[iters][never], places[never])

    @cached_property
    def randomness(self) -> float:
        """The largest difference of logits between two passes over the same images."""
        x = self.batch.x
        return float((self.logits(x) - self.logits(x)).abs().max())

    @cached_property
    def right(self) -> Labels:
        """The places of the clean images that are classified correctly."""
        everything = torch.arange(len(self.batch.ids), device=self.batch.x.device)
        return self.stand(self.batch.x, everything)

    @cached_property
    def pgd(self) -> Trajectory:
        """PGD on the cross entropy, of the images that are right, with every iterate's loss."""
        return self.path(self.right, [FEW_STEPS, STEPS], stop_early=False)

    @cached_property
    def left_by_few(self) -> Labels:
        """The places that the trajectory of PGD leaves right after FEW_STEPS."""
        return self.stand(self.pgd.iterates[FEW_STEPS], self.right)

    @cached_property
    def left(self) -> Labels:
        """The places that PGD on the cross entropy leaves right at its end."""
        return self.stand(self.pgd.iterates[STEPS], self.right)

    @cached_property
    def other_losses(self) -> dict[str, Labels]:
        """What PGD on other losses leaves of what the cross entropy leaves."""
        losses = {"margin": margin, "dlr": dlr} if self.classes > 2 else {"margin": margin}
        return {name: self.survivors(self.left, STEPS, loss=loss) for name, loss in losses.items()}

    @cached_property
    def standing(self) -> Labels:
        """The places that PGD leaves right on every loss: what masking could hide."""
        mask = torch.tensor(self.listed(self.left))
        for places in self.other_losses.values():
            mask &= torch.tensor(self.listed(places))
        return mask.nonzero()[:, 0].to(self.batch.x.device)

    @cached_property
    def margins(self) -> Tensor:
        """The margin loss of each clean image, (B,)."""
        return margin(self.logits(self.batch.x), self.batch.label, None)
