"""Everything a report reads from an attack's parameters; no other module here knows their names.

Which attacks see the network, the attack's table columns, whether two runs may be compared, and
whether a run's attack is the one a published number is about. Free of torch.
"""

from fdbench.specs import AttackSpec, PGDParameters, TransferParameters
from fdbench.units import print_size

Value = str | int | float | None  # a table's cell

ATTACK = ("attack", "loss", "restarts", "alpha", "alpha_rule", "iters")  # columns, in order
# The attack of the authors' own table: Xie et al. 2019, Sec. 6.1, and their released code.
_AUTHORS = PGDParameters()
AUTHORS = AttackSpec(eps=16 / 255, targeted=True, parameters=_AUTHORS)

_ROUNDING = 1e-9  # of a size parsed from text
# PGD as the paper runs it, the only one with published numbers.
_PLAIN: dict[str, object] = {
    "loss": "ce",
    "restarts": 1,
    "random_start": True,
    "eot": 1,
    "stop_early": False,
}


def sees_network(spec: AttackSpec) -> bool:
    """Whether the attack sees the victim: white box or black box."""
    return spec.parameters.sees_network


def stored_set(spec: AttackSpec) -> tuple[str, str]:
    """Name and digest of the set that a transfer attack replays; empty for other attacks."""
    parameters = spec.parameters
    if isinstance(parameters, TransferParameters):
        return str(parameters.set), str(parameters.digest)
    return "", ""


def budgets_asked(spec: AttackSpec) -> list[str]:
    """The budgets at which a run will have rows: iteration counts, else the attack's name."""
    return [str(i) for i in spec.parameters.budgets] or [spec.attack]


def stages(spec: AttackSpec) -> tuple[str, ...]:
    """The attacks that run in turn, each on the images still robust; empty if there is one."""
    return spec.parameters.stages


def attack_columns(spec: AttackSpec, budget: str, iters: int | None) -> dict[str, Value]:
    """The columns ATTACK of a line at one budget; those that do not apply are empty.

    A run that stops early has no last iterate, so its line is about any iterate.
    """
    name = budget if not iters else spec.attack
    if iters and spec.parameters.only_any_iterate:
        name += " any iterate"
    line: dict[str, Value] = {"attack": marked(name, spec), "iters": iters}
    line |= spec.parameters.columns(spec, iters)
    return {column: line[column] for column in ATTACK}


def marked(name: str, spec: AttackSpec) -> str:
    """`pgd (least-likely, eot 20)`: the name, with what no column shows."""
    targets = [] if spec.targets == "random" else [spec.targets]
    marks = ", ".join([*targets, *spec.parameters.marks])
    return f"{name} ({marks})" if marks else name


def inside_curve(spec: AttackSpec) -> bool:
    """Whether this is one of the smaller radii of an attack at several."""
    radii = getattr(spec.parameters, "radii", None) or ()
    return any(radius > spec.eps and not same_size(radius, spec.eps) for radius in radii)


def identity_at(spec: AttackSpec, budget: str, iters: int | None) -> dict[str, object]:
    """Everything in the attack that can change a verdict at one budget, as plain data.

    The step size replaces the rule it came from.
    """
    pgd = spec.parameters
    alpha = pgd.step(spec, iters) if iters and isinstance(pgd, PGDParameters) else None
    return {**spec.identity, "iters": budget, "alpha": alpha}


def same_size(one: float, other: float) -> bool:
    """Whether two sizes in image units are equal, up to their rounding as text."""
    return abs(one - other) < _ROUNDING


def is_plain_pgd(spec: AttackSpec, iters: int) -> bool:
    """Whether this is PGD as the paper runs it: its steps, its loss, one random start."""
    parameters = spec.parameters
    return (
        isinstance(parameters, PGDParameters)
        and spec.targets == "random"
        and all(getattr(parameters, name) == value for name, value in _PLAIN.items())
        and same_size(_AUTHORS.step(spec, iters), parameters.step(spec, iters))
    )


def follows_authors(spec: AttackSpec) -> bool:
    """Whether this is the attack of the authors' table, except for its step sizes."""
    parameters = spec.parameters
    return (
        isinstance(parameters, PGDParameters)
        and (spec.norm, spec.targeted) == (AUTHORS.norm, AUTHORS.targeted)
        and same_size(spec.eps, AUTHORS.eps)
        and spec.targets == "random"
        and all(getattr(parameters, name) == value for name, value in _PLAIN.items())
    )


def authors_step(iters: int) -> str:
    """The authors' step size at a budget, as the column `alpha` shows it."""
    return print_size(_AUTHORS.step(AUTHORS, iters), AUTHORS.norm)
