"""The stages of the fast verdict: Auto-PGD until an image breaks, or until more does not pay.

Each stage attacks the images that are left, each image on its own account, so that its verdict
depends on no other image:

1. untargeted: 10 iterations (20 in l1) on the margin.
2. targeted: towards the likeliest wrong classes in turn, as many each on the targeted DLR
   loss (Croce and Hein 2020, Eq. 7; the margin of two logits below four classes). On adversarially
   trained networks this reaches AutoAttack's verdicts to about half a percent.
3. near: 25, 50, 100 and 200 iterations from new starts towards the best three classes, for images
   whose loss is at most CLOSE below breaking. An image goes on as long as PATIENCE more rounds that
   gain what its last one gained would break it.
4. the guard, since gradients may be masked: a long ascent on the margin of probabilities with the
   identity as the gradient of operations that mask it, stage 2 towards fewer classes on the network
   without its denoising blocks, whose images are tried on the network itself (attacks/way_back.py),
   then Square Attack's random search. Images whose margin no query raised have scores that say
   nothing: RayS asks for their predicted classes alone (attacks/rays.py).
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool, Float32, Int64
from torch import Tensor

from fdbench.attacks.ascent import Climb, climb_some, judged_among, likeliest
from fdbench.attacks.losses import Loss, dlr, margin, probability_margin
from fdbench.attacks.protocol import Subject
from fdbench.attacks.rays import rays_search
from fdbench.attacks.square import SEARCHED, square_search
from fdbench.attacks.way_back import BlockFree, identity_back, masking_operations, probes
from fdbench.errors import NoGradient
from fdbench.specs import (
    BLOCK_FREE,
    IDENTITY,
    NEAR,
    RAYS,
    SQUARE,
    TARGETED,
    UNTARGETED,
    FastParameters,
)
from fdbench.types import Images, Labels, Logits, Values

# Iterations of the first two stages; in l1 most of them are spent in larger balls.
FIRST = {"linf": 10, "l2": 10, "l1": 20}
CLOSE = 0.1  # DLR below breaking, from which stage 3 tries an image
PATIENCE = 4
LABELS = 2000  # queries of RayS
# Iterations of the guard's ascent. Of 111 images left on k-WTA and MeanSparse networks of two r20s,
# a run broke 9.5 on average in 75 and 11 in 100, by 16 and 21 thousand passes; stages 2 and 3 in
# its place 7.5 by 27 thousand.
AROUND = 100
# Classes to aim at on a surrogate. On r20-nonlocal-gauss, three turned 15 of 60 images, nine 16.
SURROGATE_CLASSES = 3
ROUNDS = (25, 50, 100, 200)  # iterations towards each class of stage 3
BEST = 3  # classes of stage 3


def _two_logits(logits: Logits, label: Labels, target: Labels | None) -> Values:
    """The target's logit above the label's: what the DLR loss scales, where it is not defined."""
    assert target is not None
    return (logits.gather(1, target[:, None]) - logits.gather(1, label[:, None]))[:, 0]


@dataclass
class Pool:
    """The images of a batch: which are left, what broke the others, and at what cost."""

    subject: Subject
    spec: FastParameters
    adv: Images
    left: Int64[Tensor, " L"]  # positions in the batch
    passes: Labels
    broken_by: list[str | None]
    order: Int64[Tensor, "B K"]  # wrong classes, likeliest first
    value: Float32[Tensor, "B K"] = field(init=False)  # the highest loss towards each
    disputed: Bool[Tensor, " B"] = field(init=False)  # the attacked copy was wrong, the judge right
    flat: Int64[Tensor, " F"] = field(init=False)  # images whose scores led Square nowhere
    stage: str = ""  # shown as progress

    def __post_init__(self) -> None:
        self.value = torch.full(self.order.shape, -torch.inf, device=self.adv.device)
        self.flat = self.left[:0]
        self.disputed = torch.zeros_like(self.passes, dtype=torch.bool)

    @property
    def loss(self) -> Loss:
        """The loss towards a class."""
        return dlr if self.subject.classes >= 4 else _two_logits

    @property
    def first(self) -> int:
        """Iterations of the first two stages."""
        return FIRST[self.subject.threat.norm]

    def take(self, at: Int64[Tensor, " L"], result: Climb, name: str) -> None:
        """Records an attack on the images at some positions; broken ones leave."""
        self.passes[at] += result.passes
        self.disputed[at] |= result.course.disputed
        gone = at[result.broken]
        self.adv[gone] = result.adv[result.broken]
        for position in gone.tolist():
            self.broken_by[position] = name
        self.left = self.left[~torch.isin(self.left, gone)]

    def climb(
        self, at: Int64[Tensor, " L"], stream: str, iters: int, loss: Loss, target: Labels | None
    ) -> Climb:
        """Attacks the images at some positions from starts of their own."""
        return climb_some(
            self.subject, at, stream, iters=iters, loss=loss, target=target, eot=self.spec.eot,
            tick=self.tick,
        )  # fmt: skip

    def tick(self, share: float = 1.0, stage: str = "") -> None:
        """Reports passes as progress; those that few images need come on top of the cost."""
        self.subject.tick(0.0 if self.stage in (NEAR, RAYS) else share, self.stage)


def _aim(pool: Pool, at: Tensor, ranks: Labels, stream: str, iters: int, name: str) -> None:
    """Attacks some images towards one class each, given by its rank in `order`."""
    target = pool.order[at, ranks]
    result = pool.climb(at, stream, iters, pool.loss, target)
    pool.value[at, ranks] = torch.maximum(pool.value[at, ranks], result.value)
    pool.take(at, result, name)


def _untargeted(pool: Pool) -> None:
    result = pool.climb(pool.left, "fast-untargeted", pool.first, margin, None)
    pool.take(pool.left, result, UNTARGETED)


def _targeted(pool: Pool, name: str = TARGETED, most: int | None = None) -> None:
    for rank in range(pool.order.shape[1])[:most]:
        if len(pool.left):
            ranks = torch.full_like(pool.left, rank)
            _aim(pool, pool.left, ranks, f"fast-{name}-{rank}", pool.first, name)


def _near(pool: Pool) -> None:
    best = pool.value.amax(1)
    gain = torch.full_like(best, CLOSE / PATIENCE)
    near = pool.left
    for number, iters in enumerate(ROUNDS):
        near = near[-best[near] <= PATIENCE * gain[near]]
        ranks = pool.value.topk(min(BEST, pool.order.shape[1]), 1).indices
        for place in range(ranks.shape[1]):
            near = near[torch.isin(near, pool.left)]
            if len(near):
                stream = f"fast-{NEAR}-{number}-{place}"
                _aim(pool, near, ranks[near, place], stream, iters, NEAR)
        near = near[torch.isin(near, pool.left)]
        best, before = pool.value.amax(1), best
        gain = best - before


def _identity(pool: Pool) -> None:
    net = pool.subject.net
    operations = masking_operations(net, probes(pool.subject.batch.x))
    if not operations:
        return
    with identity_back(operations):
        result = pool.climb(pool.left, f"fast-{IDENTITY}", AROUND, probability_margin, None)
    pool.take(pool.left, result, IDENTITY)


def _block_free(pool: Pool) -> None:
    """Attacks a surrogate, the network without its denoising blocks."""
    subject, copy = pool.subject, BlockFree(pool.subject.net)
    if not copy.blocks:
        return
    pool.subject, disputed = replace(subject, net=copy), pool.disputed.clone()
    try:
        _targeted(pool, BLOCK_FREE, SURROGATE_CLASSES)
    finally:
        pool.subject = subject
        pool.disputed = disputed  # a surrogate may differ from the judge


def _square(pool: Pool) -> None:
    subject, at = pool.subject, pool.left
    if subject.threat.norm not in SEARCHED or not pool.spec.queries:
        return
    batch = subject.batch
    result = square_search(
        subject.net, batch.x[at], batch.label[at], tuple(batch.ids[i] for i in at.tolist()),
        subject.threat, queries=pool.spec.queries, seed=subject.seed,
        judge=judged_among(subject.judge, at), tick=pool.tick,
    )  # fmt: skip
    with torch.no_grad():
        clean = margin(subject.net(batch.x[at]), batch.label[at], None)
    pool.passes[at] += 1
    pool.take(at, result, SQUARE)
    pool.flat = at[(result.value <= clean) & ~result.broken]


def _rays(pool: Pool) -> None:
    subject, at = pool.subject, pool.flat
    if not len(at):
        return
    result = rays_search(
        subject.net, subject.batch.x[at], subject.batch.label[at], subject.threat,
        queries=LABELS, judge=judged_among(subject.judge, at), tick=pool.tick,
    )  # fmt: skip
    pool.take(at, result, RAYS)


_STAGES: dict[str, Callable[[Pool], None]] = {
    UNTARGETED: _untargeted,
    TARGETED: _targeted,
    NEAR: _near,
    IDENTITY: _identity,
    BLOCK_FREE: _block_free,
    SQUARE: _square,
    RAYS: _rays,
}


def begin(subject: Subject, spec: FastParameters) -> Pool:
    """The batch before any attack: misclassified images are broken, the others' classes ranked."""
    batch, everything = subject.batch, torch.arange(len(subject.batch.ids))
    everything = everything.to(batch.x.device)
    order = likeliest(subject, spec.classes)
    right = subject.judge(batch.x, everything) == batch.label
    broken_by: list[str | None] = [None if one else "clean" for one in right.tolist()]
    passes = torch.full_like(batch.label, 2)
    return Pool(subject, spec, batch.x.clone(), everything[right], passes, broken_by, order)


def attack_left(pool: Pool) -> None:
    """Runs all stages on the images that are left."""
    for stage in pool.spec.stages:
        if len(pool.left):
            pool.stage = stage
            try:
                _STAGES[stage](pool)
            except NoGradient:
                continue  # the guard needs none
