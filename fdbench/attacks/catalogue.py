"""Every attack by name: where its code is, and what the loop must know of it. Free of torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """Where an attack's code is, as "module:function", imported when it runs."""

    run: str  # (Subject, AttackSpec) -> readings
    steps: str  # AttackSpec -> how often it ticks for a batch, at most
    # Draws random numbers per batch: the batch boundaries are part of the run, and a batch is
    # attacked whole or not at all (contract C3).
    whole_batches: bool = False
    # Without acceleration it is given all images of the run, as its package would be, and makes its
    # batches itself.
    whole_run: bool = False
    blind: bool = False  # black box: never given the network it is judged on
    warns: str | None = None  # (AttackSpec, Setting) -> what the run's readers must know
    # (results folder, AttackSpec) -> what besides the spec decides its images (RunInfo.further)
    describes: str | None = None
    # (results folder, AttackSpec, image ids) -> (B,) the classes that a targeted attack's images
    # were made towards, where they were made before; None: chosen as AttackSpec.targets says
    targets: str | None = None


ATTACKS = {
    "pgd": Entry("fdbench.attacks.pgd:run_pgd", "fdbench.attacks.pgd:count_steps"),
    "autoattack": Entry(
        "fdbench.attacks.autoattack.attack:run_autoattack",
        "fdbench.attacks.autoattack.attack:count_steps",
        whole_batches=True,
        whole_run=True,
        warns="fdbench.attacks.autoattack.attack:warnings_for",
    ),
    "foolbox": Entry(
        "fdbench.attacks.foolbox:run_foolbox",
        "fdbench.attacks.foolbox:count_steps",
        whole_batches=True,
    ),
    "transfer": Entry(
        "fdbench.attacks.replay:run_stored",
        "fdbench.attacks.replay:count_steps",
        blind=True,
        warns="fdbench.attacks.replay:warnings_for",
        describes="fdbench.attacks.replay:describe",
        targets="fdbench.attacks.replay:targets",
    ),
}
