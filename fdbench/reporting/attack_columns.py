"""What a report reads of an attack's parameters: no other module here knows what they are called.

Which attacks see the network, what stands in a table's columns, whether two runs may be compared,
and whether a run's attack is the one that a number was published for. Free of torch.
"""

from dataclasses import replace

from fdbench.specs import AttackSpec
from fdbench.units import print_size

Value = str | int | float | None  # of a table's cell

ATTACK = ("attack", "loss", "restarts", "alpha", "alpha_rule", "iters")  # columns, in order
TRANSFER = "transfer"  # judges stored images, which were made without the network
# The attack of the authors' own table: Xie et al. 2019, Sec. 6.1, and their released code.
AUTHORS = AttackSpec(eps=16 / 255, targeted=True)

_ROUNDING = 1e-9  # of a size that was once text
# PGD as the paper runs it; published numbers are about nothing else.
_AUTHORS_KNOBS: dict[str, object] = {"loss": "ce", "restarts": 1, "random_start": True}
_PLAIN: dict[str, object] = {**_AUTHORS_KNOBS, "targets": "random", "eot": 1, "stop_early": False}


def sees_network(spec: AttackSpec) -> bool:
    """Whether the attack looks at the network that it is judged on: white box or black box."""
    return spec.attack != TRANSFER


def stored_set(spec: AttackSpec) -> tuple[str, str]:
    """Name and digest of the set of images that a transfer judges; empty for other attacks."""
    return str(spec.options.get("set", "")), str(spec.options.get("digest", ""))


def budgets_asked(spec: AttackSpec) -> list[str]:
    """The budgets at which a run will have rows: iterations of PGD, else the attack itself."""
    return [str(i) for i in spec.iters] if spec.attack == "pgd" else [spec.attack]


def attack_columns(spec: AttackSpec, budget: str, iters: int | None) -> dict[str, Value]:
    """The columns ATTACK of a line at one budget; those of PGD are empty elsewhere.

    A run that stops early has no last iterate, so its line is about any iterate.
    """
    if not iters:
        given: dict[str, Value] = {"attack": budget, "restarts": spec.restarts, "iters": iters}
        return {name: given.get(name) for name in ATTACK}
    return {
        "attack": f"{spec.attack} any iterate" if spec.stop_early else spec.attack,
        "loss": spec.loss,
        "restarts": spec.restarts,
        "alpha": print_size(spec.step(iters), spec.norm),
        "alpha_rule": "auto" if spec.alpha is None else "fixed",
        "iters": iters,
    }


def identity_at(spec: AttackSpec, budget: str, iters: int | None) -> dict[str, object]:
    """All of the attack that can change a verdict at one budget, as plain data.

    The step size stands in place of the rule it came from.
    """
    return {**spec.identity, "iters": budget, "alpha": spec.step(iters) if iters else None}


def same_size(one: float, other: float) -> bool:
    """Whether two sizes in image units are equal, but for their way through text."""
    return abs(one - other) < _ROUNDING


def is_plain_pgd(spec: AttackSpec, iters: int) -> bool:
    """Whether this is PGD as the paper runs it: its steps, its loss, one random start."""
    return (
        spec.attack == "pgd"
        and all(getattr(spec, name) == value for name, value in _PLAIN.items())
        and same_size(replace(spec, alpha=None).step(iters), spec.step(iters))
    )


def follows_authors(spec: AttackSpec) -> bool:
    """Whether this is the attack of the authors' own table, its step sizes aside."""
    kind = (spec.attack, spec.norm, spec.targeted)
    return (
        kind == (AUTHORS.attack, AUTHORS.norm, AUTHORS.targeted)
        and same_size(spec.eps, AUTHORS.eps)
        and all(getattr(spec, name) == value for name, value in _AUTHORS_KNOBS.items())
    )


def authors_step(iters: int) -> str:
    """The authors' step size at a budget, as the column `alpha` shows it."""
    return print_size(AUTHORS.step(iters), AUTHORS.norm)
