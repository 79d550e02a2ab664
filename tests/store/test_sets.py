import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fdbench.data.open import open_data
from fdbench.errors import BadValue, FdbenchError
from fdbench.specs.attack import AttackerSpec
from fdbench.store.run_json import DataInfo
from fdbench.store.set_index import Line
from fdbench.store.set_json import SetInfo, Surrogate, read_set_info
from fdbench.store.sets import AdvSet, SetFolder
from fdbench.store.workspace import Workspace

DATA = open_data("fashion-mini", "test")
INFO = SetInfo(
    title="toys",
    attackers=(AttackerSpec("mi", "momentum", {"iters": 10}), AttackerSpec("coin", "noise")),
    surrogates=(Surrogate("r20", "r20", "a" * 64), Surrogate("r18", "r18", "b" * 64, 0.25)),
    data=DataInfo("fashion-mini", "test", DATA.fingerprint, DATA.classes, len(DATA)),
    px=28,
    eps=8 / 255,
    seed=0,
    images=4,
    environment={"python": "3.11.7"},
)
PIXELS = torch.arange(2 * 3 * 28 * 28).reshape(2, 3, 28, 28).to(torch.uint8)


def stored(results: Path) -> Path:
    """A set of four images under two attackers."""
    with SetFolder.open(Workspace(results), INFO, "toys") as folder:
        for i, name in enumerate(("mi", "coin", "mi", "coin")):
            ids = (0, 1) if i < 2 else (2, 3)
            folder.append(Line(name, ids, "", 1.5, {"clipped": i}, unattacked=ids[:i]), PIXELS + i)
        return folder.path


def test_stored_images_are_read_back_in_the_requested_order(tmp_path: Path) -> None:
    stored(tmp_path)
    adv_set = AdvSet.open(Workspace(tmp_path), "toys")
    assert adv_set.info == INFO
    wanted = torch.stack([(PIXELS + 2)[1], PIXELS[0]]).float() / 255
    assert torch.equal(adv_set.images("mi", (3, 0)), wanted)


def test_seconds_counts_and_unattacked_are_sums_over_lines(tmp_path: Path) -> None:
    stored(tmp_path)
    adv_set = AdvSet.open(Workspace(tmp_path), "toys")
    assert adv_set.seconds == {"mi": 3.0, "coin": 3.0}
    assert adv_set.counts == {"mi": {"clipped": 2}, "coin": {"clipped": 4}}
    assert adv_set.unattacked == {"mi": {2, 3}, "coin": {0, 2, 3}}


CHANGES: list[dict[str, Any]] = [
    {"surrogates": (Surrogate("r20", "r20", "c" * 64), INFO.surrogates[1])},
    {"surrogates": (INFO.surrogates[0], Surrogate("r18", "r18", "b" * 64, 0.5))},
    {"attackers": (AttackerSpec("mi", "momentum", {"iters": 11}), INFO.attackers[1])},
    {"attackers": INFO.attackers[:1]},
    {"data": replace(INFO.data, fingerprint="0" * 64)},
    {"data": replace(INFO.data, split="train")},
    {"px": 32},
    {"eps": 16 / 255},
    {"seed": 1},
    {"targets": "random"},
    {"files": {"generator.safetensors": "d" * 64}},
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: next(iter(change)))
def test_anything_that_can_change_a_pixel_makes_another_set(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    other = replace(INFO, **change)
    assert other.digest != INFO.digest
    assert other.name != INFO.name
    folder = stored(tmp_path)
    before = (folder / "set.json").read_bytes()
    with pytest.raises(BadValue, match=f"another set 'toys': its {next(iter(change))}.*\n.*--use"):
        SetFolder.open(Workspace(tmp_path), other, "toys")
    assert (folder / "set.json").read_bytes() == before


def test_fields_that_change_no_pixel_keep_the_set(tmp_path: Path) -> None:
    folder = stored(tmp_path)
    other = replace(INFO, images=9, environment={"python": "3.13"}, command="x", warnings=("w",))
    assert other.name == INFO.name
    with SetFolder.open(Workspace(tmp_path), other, "toys") as again:
        assert len(again.done) == 8
    kept = read_set_info(folder / "set.json")
    assert (kept.images, kept.command, kept.started) == (9, INFO.command, INFO.started)
    assert kept.warnings == ("w", "resumed in another environment: python 3.11.7 -> 3.13")


def test_a_changed_or_missing_shard_is_refused(tmp_path: Path) -> None:
    folder = stored(tmp_path)
    adv_set = AdvSet.open(Workspace(tmp_path), "toys")
    shard = folder / "adv" / adv_set.shards["mi", 0]
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    with pytest.raises(FdbenchError, match="is not what was written"):
        adv_set.images("mi", (1,))
    shard.unlink()
    with pytest.raises(FdbenchError, match="can't be read"):
        adv_set.images("mi", (1,))
    assert len(adv_set.images("coin", (0, 1))) == 2


def test_an_edited_description_is_refused(tmp_path: Path) -> None:
    path = stored(tmp_path) / "set.json"
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 1'))
    with pytest.raises(FdbenchError, match="was edited"):
        AdvSet.open(Workspace(tmp_path), "toys")


def test_a_torn_last_line_is_left_out_and_redone(tmp_path: Path) -> None:
    index = stored(tmp_path) / "index-0.jsonl"
    whole = index.read_bytes()
    index.write_bytes(whole[:-9])
    assert len(AdvSet.open(Workspace(tmp_path), "toys").lines) == 3
    with SetFolder.open(Workspace(tmp_path), INFO, "toys") as folder:
        assert ("coin", 2) not in folder.done
        folder.append(Line("coin", (2, 3), "", 1.5, {"clipped": 3}, (2, 3)), PIXELS + 3)
    assert index.read_bytes() == whole


@pytest.mark.parametrize("damage", ["hello", "edited", "bare"])
def test_a_damaged_line_is_named_set_aside_and_made_again(
    tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    index = stored(tmp_path) / "index-0.jsonl"
    *lines, last = index.read_text().splitlines()
    table = json.loads(last)
    if damage == "edited":
        table["seconds"] += 1
    if damage == "bare":
        del table["check"]
    bad = "hello" if damage == "hello" else json.dumps(table)
    index.write_text("\n".join([*lines, bad]) + "\n")
    assert len(AdvSet.open(Workspace(tmp_path), "toys").lines) == len(lines)
    assert f"line {len(lines) + 1}: " in capsys.readouterr().err.replace("\n", " ")
    with SetFolder.open(Workspace(tmp_path), INFO, "toys") as folder:
        pairs = {(table["attacker"], image) for image in table["ids"]}
        assert not pairs & folder.done
    assert index.with_name("index-0.jsonl.damaged").read_text() == bad + "\n"


def test_two_processes_never_write_the_same_lines(tmp_path: Path) -> None:
    with (
        SetFolder.open(Workspace(tmp_path), INFO, "toys"),
        pytest.raises(FdbenchError, match="another process is writing"),
    ):
        SetFolder.open(Workspace(tmp_path), INFO, "toys")
    with (
        SetFolder.open(Workspace(tmp_path), INFO, "toys"),
        SetFolder.open(Workspace(tmp_path), INFO, "toys", rank=1),
    ):
        pass


def test_missing_images_are_counted_and_a_remedy_is_named(tmp_path: Path) -> None:
    stored(tmp_path)
    adv_set = AdvSet.open(Workspace(tmp_path), "toys")
    adv_set.check_complete((3, 1))
    with pytest.raises(FdbenchError, match=r"has 4 of these 6 images under mi.\n.*--limit"):
        adv_set.check_complete(range(6))


def test_a_set_is_opened_by_its_name_or_its_printed_folder(tmp_path: Path) -> None:
    folder = stored(tmp_path)
    assert AdvSet.open(Workspace(tmp_path), str(folder)).name == "toys"
    with pytest.raises(BadValue, match=r"no set 'toy'\. Did you mean 'toys'"):
        AdvSet.open(Workspace(tmp_path), "toy")


def test_targets_are_stored_by_image_and_make_the_attack_targeted(tmp_path: Path) -> None:
    with SetFolder.open(Workspace(tmp_path), replace(INFO, targets="random"), "aimed") as folder:
        for name in ("mi", "coin"):
            folder.append(Line(name, (0, 1), "", targets=(7, 3)), PIXELS)
    adv_set = AdvSet.open(Workspace(tmp_path), "aimed")
    assert adv_set.targets((1, 0)).tolist() == [3, 7]
    assert adv_set.spec.targeted
    with pytest.raises(FdbenchError, match="has 1 of these 2 images"):
        adv_set.targets((1, 2))
    stored(tmp_path)
    assert not AdvSet.open(Workspace(tmp_path), "toys").spec.targeted


def test_an_untargeted_set_keeps_its_name_across_versions() -> None:
    assert "targets" not in INFO.identity
    assert INFO.name.startswith("toys-fashion-mini-linf-8-")
    assert replace(INFO, targets="random").name.startswith("toys-fashion-mini-t-linf-8-")


def test_an_open_set_needs_only_its_shards_and_can_be_shared_by_all_batches(tmp_path: Path) -> None:
    with SetFolder.open(Workspace(tmp_path), replace(INFO, targets="random"), "aimed") as folder:
        for name in ("mi", "coin"):
            for i, ids in enumerate(((0, 1), (2, 3))):
                line = Line(name, ids, "", unattacked=ids[i:], warnings=("w",), targets=(7, 3))
                folder.append(line, PIXELS + i)
    adv_set = AdvSet.open(Workspace(tmp_path), "aimed")
    (folder.path / "set.json").unlink()
    (folder.path / "index-0.jsonl").unlink()
    for ids in ((0, 1), (2, 3)):
        adv_set.check_complete(ids)
        adv_set.check_fit(DATA, ids)
        assert adv_set.images("coin", ids).shape == (2, 3, 28, 28)
        assert adv_set.targets(ids).tolist() == [7, 3]
    assert adv_set.unattacked == {"mi": {0, 1, 3}, "coin": {0, 1, 3}}
    assert adv_set.warnings == ("w",)
    assert adv_set.spec.parameters.plain == {"set": "aimed", "digest": adv_set.info.digest}
    assert adv_set.unattacked is adv_set.unattacked
