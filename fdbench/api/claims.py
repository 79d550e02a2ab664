"""Verification of adversarial images that were made elsewhere."""

from pathlib import Path

from torch import nn

from fdbench.api.opening import complete, model_of, open_images, workspace_at
from fdbench.api.requests import AttackRequest, DataRequest
from fdbench.console import progress, say
from fdbench.data import read_claimed
from fdbench.errors import BadValue
from fdbench.evaluation import CLAIM_BATCH, check_claim
from fdbench.machine import start_torch
from fdbench.store import Check
from fdbench.threat import Threat
from fdbench.units import print_size


def verify_images(
    images: Path | str,
    model: str | nn.Module,
    data: DataRequest | str | None = None,
    *,
    eps: float | None = None,
    norm: str = "linf",
    robust: float | None = None,
    batch_size: int | None = None,
    results: Path | str = "results",
    device: str = "auto",
    threads: int | None = None,
) -> list[Check]:
    """Judges adversarial images made elsewhere: box, ball, labels, count, robust accuracy.

    Args:
        images: a .pt file (a tensor, or a dict with `adv_complete`), .npy or .npz (with `y`, if
            labels are to be compared), or a folder of ID.png: of the data set's first images, in
            its order.
        model: the network, in inference mode, or a reference as for `--model`.
        data: the data set, as for `--data` or as a request; None: the one the model was trained on.
        eps: radius in image units; None: the eps the model was trained with, else 8/255 (16/255 on
            ImageNet).
        norm: a norm of fdbench.
        robust: the robust accuracy that is claimed, in percent.
        batch_size: images per batch; None: 500.
        results: the results folder, for models named without a path.
        device: "auto", "cpu", "cuda" or "mps".
        threads: CPU threads; None: PyTorch's own number.

    Returns:
        A list of Checks, each "pass", "fail" or "skipped"; the last one has the robust accuracy.

    Raises:
        BadValue: if a setting is invalid.
        FdbenchError: if the file is damaged, or of a kind or shape that images don't have.

    Example:
        >>> run = fdbench.evaluate(net, "fashion-mini", iters=(2,), limit=8, save_adv="png")
        >>> checks = fdbench.verify_images(run.path / "png" / "2", net, "fashion-mini")
        >>> [check.verdict for check in checks if check.check == "ball"]
        ['pass']
    """
    if robust is not None and not 0 <= robust <= 100:
        raise BadValue(f"a robust accuracy is between 0 and 100 percent, not {robust}.")
    workspace, where = workspace_at(results), start_torch(device, threads)
    opened = model_of(model, workspace)
    request = data if isinstance(data, DataRequest) else DataRequest(data)
    source = open_images(opened, request)
    spec = complete(AttackRequest(norm=norm, eps=eps, targeted=False), opened, source)
    path = Path(images)
    claimed = read_claimed(path, source.ids)
    say(f"{path.name}: {opened.name} on {source.name}, {norm}, eps {print_size(spec.eps, norm)}")
    with progress(path.name, len(claimed.images), "images") as advance:
        return check_claim(
            claimed, opened, source, Threat(norm, spec.eps), where, robust=robust,
            batch_size=batch_size or CLAIM_BATCH, tick=advance,
        )  # fmt: skip
