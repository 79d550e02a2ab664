"""Stored adversarial images come back as they were or not at all; rounded ones stay legal."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save

from fdbench.errors import FdbenchError
from fdbench.store.images import (
    Shard,
    as_images,
    read_png,
    read_shard,
    whole_pixels,
    write_png,
    write_shard,
)
from fdbench.threat import Threat
from fdbench.verdict import ROUNDING, check


def images(count: int = 4, seed: int = 0) -> torch.Tensor:
    return torch.rand((count, 3, 6, 6), generator=torch.Generator().manual_seed(seed))


def shard() -> Shard:
    return Shard((7, "cat/0003", 2, 9), {"10": images(seed=1), "100": images(seed=2)})


def test_a_shard_comes_back_bit_for_bit(tmp_path: Path) -> None:
    wanted = shard()
    got = read_shard(tmp_path / write_shard(tmp_path, wanted))
    assert got.ids == wanted.ids
    assert got.tensors.keys() == wanted.tensors.keys()
    for name, tensor in wanted.tensors.items():
        assert torch.equal(got.tensors[name], tensor)
        assert got.tensors[name].dtype == torch.float32


def test_images_come_in_the_requested_order(tmp_path: Path) -> None:
    got = read_shard(tmp_path / write_shard(tmp_path, shard()))
    wanted = shard().tensors["100"]
    assert torch.equal(got.images("100", [9, "cat/0003"]), wanted[[3, 1]])


def test_equal_images_have_one_name_and_layout_does_not_matter(tmp_path: Path) -> None:
    turned = {
        name: tensor.contiguous(memory_format=torch.channels_last)
        for name, tensor in shard().tensors.items()
    }
    names = {write_shard(tmp_path, shard()), write_shard(tmp_path, Shard(shard().ids, turned))}
    assert len(names) == 1
    assert [path.name for path in tmp_path.iterdir()] == list(names)


def test_other_ids_are_another_shard(tmp_path: Path) -> None:
    moved = Shard((8, *shard().ids[1:]), shard().tensors)
    assert write_shard(tmp_path, shard()) != write_shard(tmp_path, moved)


def test_whole_pixels_in_a_shard_are_divided_once(tmp_path: Path) -> None:
    stored = (255 * images()).round().to(torch.uint8)
    got = read_shard(tmp_path / write_shard(tmp_path, Shard((1, 2, 3, 4), {"set": stored})))
    assert got.tensors["set"].dtype == torch.uint8
    assert torch.equal(got.images("set", [1, 2, 3, 4]), stored.float() / 255)


def test_a_changed_cut_or_missing_shard_is_refused(tmp_path: Path) -> None:
    path = tmp_path / write_shard(tmp_path, shard())
    content = path.read_bytes()
    for changed in (content[:-1], content + b"\0", content[:-1] + bytes([content[-1] ^ 1]), b""):
        path.write_bytes(changed)
        with pytest.raises(FdbenchError, match="don't fit its name"):
            read_shard(path)
    path.unlink()
    with pytest.raises(FdbenchError, match="can't be read: No such file"):
        read_shard(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"no shard", save({"10": images()}), save({"10": images()}, {"ids": "3"})],
    ids=["empty", "text", "no ids", "ids no list"],
)
def test_bytes_that_fit_their_name_but_are_no_shard_are_refused(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / (hashlib.sha256(content).hexdigest()[:32] + ".safetensors")
    path.write_bytes(content)
    with pytest.raises(FdbenchError, match="is not a shard of images"):
        read_shard(path)


def test_a_failed_write_is_reported(tmp_path: Path) -> None:
    (tmp_path / "adv").write_text("a file where the folder should be")
    with pytest.raises(FdbenchError, match="can't write"):
        write_shard(tmp_path / "adv", shard())


EPS = st.one_of(st.sampled_from([2 / 255, 8 / 255, 16 / 255]), st.floats(0.5 / 255, 0.2))


@settings(max_examples=200, deadline=None)
@given(eps=EPS, seed=st.integers(0, 999), whole=st.booleans())
def test_whole_pixels_are_legal_whatever_the_eps(eps: float, seed: int, whole: bool) -> None:
    x, threat = images(2, seed), Threat("linf", eps)
    if whole:
        x = (255 * x).round() / 255
    far = x + 2 * (images(2, seed + 1000) - 0.5)
    pixels = whole_pixels(threat.project(far, x), x, eps)
    check(as_images(pixels), x, threat)


@settings(max_examples=100, deadline=None)
@given(pixels=st.integers(1, 32), off=st.floats(-ROUNDING, ROUNDING))
def test_rounding_to_an_almost_whole_eps_never_leaves_the_ball(pixels: int, off: float) -> None:
    x = torch.arange(192).reshape(1, 3, 8, 8) / 255
    threat = Threat("linf", pixels / 255 + off)
    check(as_images(whole_pixels((x + 1).clamp(0, 1), x, threat.eps)), x, threat)


@pytest.mark.parametrize("eps", [1, 2, 4, 8, 16, 32])
def test_rounding_keeps_all_of_a_whole_eps(eps: int) -> None:
    x = torch.arange(192).reshape(1, 3, 8, 8) / 255
    wanted = (torch.arange(192) + eps).reshape(1, 3, 8, 8)
    adv = Threat("linf", eps / 255).project((x + 1).clamp(0, 1), x)
    assert torch.equal(whole_pixels(adv, x, eps / 255).long(), wanted)


def test_rounding_goes_to_the_nearest_pixel_that_is_allowed() -> None:
    x = torch.full((1, 3, 1, 2), 100 / 255)
    adv = torch.full((1, 3, 1, 2), 102.4 / 255)
    assert whole_pixels(adv, x, 2.5 / 255).eq(102).all()
    adv = torch.full((1, 3, 1, 2), 102.6 / 255)  # the nearest, 103, is outside of 2.7
    assert whole_pixels(adv, x, 2.7 / 255).eq(102).all()


def test_no_whole_pixel_in_the_ball_is_an_error() -> None:
    x = torch.full((1, 3, 2, 2), 100.5 / 255)
    with pytest.raises(FdbenchError, match=r"eps 0.4/255 leaves no whole pixel.*\n.*--save-adv"):
        whole_pixels(x, x, 0.4 / 255)


def test_a_png_comes_back_unchanged(tmp_path: Path) -> None:
    pixels = (255 * images(1)[0]).to(torch.uint8)
    write_png(tmp_path / "10" / "cat" / "0003.png", pixels)
    assert torch.equal(read_png(tmp_path / "10" / "cat" / "0003.png"), pixels)


@pytest.mark.parametrize("kind", ["missing", "JPEG", "grey", "cut"])
def test_anything_but_an_rgb_png_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "1.png"
    image = Image.fromarray(np.zeros((8, 8, 3), np.uint8))
    if kind != "missing":
        converted = image.convert("L") if kind == "grey" else image
        converted.save(path, format="JPEG" if kind == "JPEG" else "PNG")
    if kind == "cut":
        path.write_bytes(path.read_bytes()[:35])
    with pytest.raises(FdbenchError, match=r"1\.png is"):
        read_png(path)
