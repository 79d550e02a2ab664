"""Checks of the adversarial images: the ball, the box, the recorded distances."""

from collections.abc import Sequence

from torch import Tensor

from fdbench import verdict
from fdbench.evaluation.audit.tally import Tally
from fdbench.store import Row
from fdbench.threat import Threat
from fdbench.types import Images
from fdbench.verdict import ROUNDING


def why_illegal(adv: Tensor, x: Tensor, threat: Threat) -> str | None:
    """Returns why one image is not within the threat model, or None if it is."""
    try:
        verdict.check(adv[None], x[None], threat)
    except verdict.IllegalAdversary as reason:
        return reason.message.removeprefix("the attack ")
    return None


class LegalityCheck:
    """Checks that images are legal, and at the recorded distance."""

    def __init__(self, threat: Threat) -> None:
        self.ball_and_box = Tally("ball and box", "images")
        self.distances = Tally("distances", "images")
        self._threat = threat

    def look(self, reading: str, adv: Images, rows: Sequence[Row], x: Images) -> None:
        """Checks the images of one reading against the clean ones and the rows."""
        distances = self._threat.distance(adv, x)
        flat = adv.flatten(1)
        inside = (
            (flat >= 0).all(1) & (flat <= 1).all(1) & (distances <= verdict.limit(self._threat))
        )
        for i, (row, legal, now) in enumerate(
            zip(rows, inside.tolist(), distances.tolist(), strict=True)
        ):
            why = "" if legal else why_illegal(adv[i], x[i], self._threat)
            self.ball_and_box.add(legal, f"image {row['image']}, {reading}: {why}")
            if reading == list(row["pred"])[-1]:  # the one whose distance is recorded
                then = row["distance"]
                near = abs(now - then) <= ROUNDING * max(1.0, now)
                self.distances.add(near, f"image {row['image']}: recorded {then}, now {now:.8f}")
