"""RayS: the nearest boundary along rays to the corners of the cube, from predicted classes alone.

Source: Chen and Gu 2020, "RayS: A Ray Searching Method for Hard-label Adversarial Attack",
Algorithms 1 and 3. A ray is a sign for every value; blocks of signs are flipped in turn, halves,
quarters and so on, and a flip stays if the new ray meets the boundary earlier. There are no random
numbers. It was made for linf, where the corners lie farthest. In l2 and l1 the same corners are
tried: they are not the nearest adversaries there, but what they break is broken.
"""

from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float32
from torch import Tensor, nn

from fdbench.attacks.ascent import Climb, JudgeAt
from fdbench.attacks.protocol import Tick
from fdbench.threat import Threat
from fdbench.types import Images, Labels, Values

_EXACT = 1e-3  # to which a boundary's distance along a ray is searched
_FINE = 8  # at least so many times finer than the ball


@dataclass
class _Rays:
    """The images still searching; one entry an image."""

    index: Labels  # positions among all images
    x: Images
    label: Labels
    ray: Float32[Tensor, "B D"]  # the best one, of 1 and -1
    reach: Values  # the distance to the boundary along it; 1 before any was met
    blocks: Labels  # into which signs are divided
    block: Labels  # the one whose flip is tried; -1: the ray itself
    low: Values  # of the search along the tried ray, while `searching`
    high: Values
    searching: Bool[Tensor, " B"]

    def take(self, keep: Tensor) -> "_Rays":
        return _Rays(**{one.name: getattr(self, one.name)[keep] for one in fields(self)})

    @property
    def tried(self) -> Float32[Tensor, "B D"]:
        """The rays with their blocks flipped."""
        size = self.ray.shape[1]
        of_block = torch.arange(size, device=self.ray.device) * self.blocks[:, None] // size
        return torch.where(of_block == self.block[:, None], -self.ray, self.ray)

    @property
    def distance(self) -> Values:
        """How far along its ray each image is asked next."""
        return torch.where(self.searching, (self.low + self.high) / 2, self.reach)

    def learn(self, tried: Float32[Tensor, "B D"], wrong: Bool[Tensor, " B"], exact: float) -> None:
        """Takes the answers: searches go on or end; after a flip that failed comes the next.

        A search ends when the boundary's distance is known to `exact`.
        """
        asked = self.distance
        self.high = torch.where(wrong, asked, self.high)
        self.low = torch.where(self.searching & ~wrong, asked, self.low)
        self.low = torch.where(self.searching, self.low, 0.0)
        ends = self.searching & (self.high - self.low <= exact)
        self.ray = torch.where(ends[:, None], tried, self.ray)
        self.reach = torch.where(ends, self.high, self.reach)
        onwards = ends | (~self.searching & ~wrong)
        self.searching = ~onwards & (self.searching | wrong)
        self.block = self.block + onwards.long()
        through = self.block >= self.blocks
        finer = (2 * self.blocks).clamp(max=self.ray.shape[1])
        self.blocks = torch.where(through, finer, self.blocks)
        self.block = torch.where(through, 0, self.block)


@torch.no_grad()
def rays_search(
    net: nn.Module,
    x: Images,
    label: Labels,
    threat: Threat,
    *,
    queries: int,
    judge: JudgeAt,
    tick: Tick,
) -> Climb:
    """Searches for a boundary within the ball by at most `queries` predictions an image.

    In linf, l2 and l1.
    """
    never, nothing = torch.zeros_like(label), torch.zeros(len(x), device=x.device)
    corner = float(threat.distance(torch.ones_like(x[:1]), torch.zeros_like(x[:1])))
    exact = min(_EXACT, threat.eps / corner / _FINE)
    done = Climb.begun(x, label, queries)
    rays = _Rays(
        torch.arange(len(x), device=x.device), x, label, torch.ones_like(x).flatten(1),
        nothing + 1, never + 1, never - 1, nothing.clone(), nothing + 1, never > 0,
    )  # fmt: skip
    for query in range(queries):
        tick(len(rays.index) / len(x) / 2)
        tried, asked = rays.tried, rays.distance
        adv = (rays.x + (asked[:, None] * tried).view_as(rays.x)).clamp(0, 1)
        wrong = net(adv).argmax(1) != rays.label
        done.passes[rays.index] += 1
        rays.learn(tried, wrong, exact)
        near = (wrong & (threat.distance(adv, rays.x) <= threat.eps)).nonzero()[:, 0]
        if len(near):
            rays = _leave(rays, adv[near], near, query, judge, done)
        if not len(rays.index):
            break
    return done


def _leave(
    rays: _Rays, adv: Images, near: Labels, query: int, judge: JudgeAt, done: Climb
) -> _Rays:
    """Records the images that the judge finds wrong; returns the others."""
    at = rays.index[near]
    done.passes[at] += 1
    wrong = judge(adv, at) != rays.label[near]
    gone = at[wrong]
    done.adv[gone], done.broken[gone], done.step[gone] = adv[wrong], True, query
    stays = torch.ones_like(rays.searching)
    stays[near[wrong]] = False
    return rays.take(stays)
