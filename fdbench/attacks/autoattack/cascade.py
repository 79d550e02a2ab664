"""AutoAttack's attacks, their order and their settings: plain data, no network.

Source: Croce and Hein 2020 (AutoAttack), Croce and Hein 2021 (l1); the numbers are those of the
package pyautoattack 0.2.0, whose own run a cascade reproduces bit for bit.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from fdbench.errors import BadValue
from fdbench.specs import EOT, VERSIONS, AutoAttackParameters

NORMS = {"linf": "Linf", "l2": "L2", "l1": "L1"}  # our name: the package's name
TARGETS = 9  # wrong classes tried by a targeted attack, likeliest first; l1 standard: 5
CLASSES = 10  # assumed for the progress bar; only fewer classes mean fewer passes


@dataclass(frozen=True)
class Effort:
    """The budget of each attack (Croce and Hein 2020, Sec. 5 and 6)."""

    iters: int = 100  # of APGD and FAB, per restart and target
    queries: int = 5000  # of Square


STANDARD = Effort()


@dataclass(frozen=True)
class Cascade:
    """A version of AutoAttack: its attacks in order, each run on the images still unbroken."""

    version: str
    attacks: tuple[str, ...]
    eot: int = 1


@dataclass(frozen=True)
class Stage:
    """One attack of a cascade with all its settings."""

    attack: str
    effort: Effort
    restarts: int = 1
    targets: int = 1  # wrong classes tried one by one, by apgd-t and fab-t
    eot: int = 1
    # The radius shrinks from 3 eps through 2 eps to eps (Croce and Hein 2021, Sec. 4.3).
    shrinking: bool = False

    @property
    def cost(self) -> int:
        """The most forward passes an image can cost; a pass with its gradient counts as two.

        Includes the pass that checks which images broke.
        """
        return KINDS[self.attack].cost(self) + 1


def _apgd_run(stage: Stage) -> int:
    starts = 3 if stage.shrinking else 1  # each radius starts with one extra gradient
    return 2 * stage.eot * (stage.effort.iters + starts)


def _apgd_cost(stage: Stage) -> int:
    return 1 + stage.restarts * _apgd_run(stage)


def _apgd_t_cost(stage: Stage) -> int:
    return 1 + stage.targets * stage.restarts * (1 + _apgd_run(stage))


def _fab_cost(stage: Stage) -> int:
    return 1 + stage.restarts * (3 * stage.effort.iters + 2)


def _fab_t_cost(stage: Stage) -> int:
    return 1 + stage.targets * stage.restarts * (3 * stage.effort.iters + 3)


def _square_cost(stage: Stage) -> int:
    return 1 + stage.restarts * (stage.effort.queries + 2)


@dataclass(frozen=True)
class Kind:
    """One of the package's attacks: its cost and its requirements."""

    cost: Callable[[Stage], int]
    classes: int = 2  # the fewest its loss is defined for
    why: str = ""


KINDS: dict[str, Kind] = {
    "apgd-ce": Kind(_apgd_cost),
    "apgd-dlr": Kind(_apgd_cost, 3, "its loss divides by the third largest logit's distance"),
    "apgd-t": Kind(_apgd_t_cost, 4, "its loss needs the third and fourth largest logits"),
    "fab": Kind(_fab_cost),
    "fab-t": Kind(_fab_t_cost),
    "square": Kind(_square_cost),
}


def cascade_of(parameters: AutoAttackParameters) -> Cascade:
    """Returns the attacks that the parameters select; the standard version by default."""
    version = parameters.version or "standard"
    attacks = VERSIONS[version] if parameters.attacks is None else parameters.attacks
    eot = EOT if version == "rand" else 1
    return Cascade(version, attacks, eot if parameters.eot is None else parameters.eot)


def reduced(plan: Cascade, classes: int) -> tuple[Cascade, str | None]:
    """Drops attacks that need more classes; returns the rest and a warning, None if all stay.

    Raises BadValue if none remains.
    """
    out = [name for name in plan.attacks if KINDS[name].classes > classes]
    if not out:
        return plan, None
    left = tuple(name for name in plan.attacks if name not in out)
    reasons = "; ".join(
        f"{name} left out with {classes} classes, it needs {KINDS[name].classes}: {KINDS[name].why}"
        for name in out
    )
    if not left:
        raise BadValue(
            f"AutoAttack {plan.version} has no attack for {classes} classes: {reasons}.\n"
            "The standard version has one: leave out --only and --version."
        )
    return replace(plan, attacks=left), f"AutoAttack {plan.version} (reduced): {reasons}"


def stages(plan: Cascade, norm: str, classes: int, effort: Effort = STANDARD) -> tuple[Stage, ...]:
    """Returns the settings of each attack of a plan, for a network with enough classes."""
    standard_l1 = plan.version == "standard" and norm == "l1"
    apgd = 5 if standard_l1 or plan.version in ("plus", "custom") else 1
    names = plan.attacks
    # The package uses one object for both: fab after fab-t inherits its single restart.
    fab_t_first = "fab-t" in names and "fab" in names[names.index("fab-t") :]
    restarts = {"apgd-ce": apgd, "apgd-dlr": apgd, "fab": 1 if fab_t_first else 5}
    targets = {"apgd-t": 5 if standard_l1 else TARGETS, "fab-t": TARGETS}
    return tuple(
        Stage(
            name,
            effort,
            restarts=restarts.get(name, 1),
            targets=min(targets.get(name, 1), classes - 1),
            eot=plan.eot,
            shrinking=standard_l1 and name.startswith("apgd"),
        )
        for name in names
    )
