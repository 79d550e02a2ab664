"""Every norm by name. Free of torch."""

from fdbench import threat
from fdbench.registry import Registry

NORMS: Registry["threat.Norm"] = Registry(
    kind="norm",
    group="fdbench.norms",
    built_in={
        "linf": lambda: threat.LINF,
        "l2": lambda: threat.L2,
        "l1": lambda: threat.L1,
        "l0": lambda: threat.L0,
    },
    fits=lambda offered: isinstance(offered, threat.Norm),
    wanted="an fdbench.threat.Norm",
)
