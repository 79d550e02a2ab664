"""`fdbench verify`: an untouched run passes, and any change to one is detected."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from click.testing import CliRunner, Result
from conftest import Linear, frozen
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from scripted import pgd_spec
from torch import nn

from fdbench.attacks import PGD
from fdbench.commands.verify import verify
from fdbench.data.open import open_data
from fdbench.errors import BadValue, SanityFailed
from fdbench.evaluation.audit import audit, find_run, read_run
from fdbench.evaluation.evaluation import Evaluation
from fdbench.evaluation.loop import evaluate
from fdbench.models.checkpoint import Card, load_card, save_card, weights_hash
from fdbench.models.load import Model, open_model
from fdbench.models.resnet import build
from fdbench.specs.attack import AttackSpec
from fdbench.specs.model import ModelSpec
from fdbench.specs.plain import digest
from fdbench.store import images, read_info, row_digest
from fdbench.store.workspace import Workspace
from fdbench.verdict import deciding, relative_difference

Row = dict[str, Any]  # a forger follows no schema

CPU = torch.device("cpu")
DATA = open_data("fashion-mini", "test")
IMAGES = 12


def model(net: nn.Module | None = None) -> Model:
    net = frozen(net or Linear(10, 28, seed=0))
    return Model("linear", "conftest:linear", net, weights_hash(net.state_dict()), None)


def attacked(results: Path, save: str | None, attack: AttackSpec, **changes: Any) -> Path:
    job = Evaluation(
        model(), DATA, PGD(), attack, Workspace(results), CPU, limit=IMAGES, batch_size=5,
        save_adv=save,
    )  # fmt: skip
    return evaluate(replace(job, **changes), lambda text: None)


SPEC = pgd_spec(iters=(2, 4))


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return attacked(tmp_path_factory.mktemp("original"), "png", SPEC)


@pytest.fixture
def run(original: Path, tmp_path: Path) -> Path:
    """A copy of a finished run, to be tampered with."""
    return Path(shutil.copytree(original, tmp_path / original.name))


@pytest.fixture
def bare(original: Path, tmp_path: Path) -> Path:
    """The same without its PNG images."""
    return Path(
        shutil.copytree(original, tmp_path / original.name, ignore=shutil.ignore_patterns("png"))
    )


def verdicts(path: Path, judged: Model | None = None, **options: Any) -> dict[str, str]:
    checks = audit(read_run(path), judged or model(), DATA, CPU, **options)
    return {check.check: check.verdict for check in checks}


def detail(path: Path, check: str, judged: Model | None = None) -> str:
    checks = audit(read_run(path), judged or model(), DATA, CPU)
    return next(one.found for one in checks if one.check == check)


def failed(path: Path, **options: Any) -> set[str]:
    return {check for check, verdict in verdicts(path, **options).items() if verdict == "fail"}


def rows_of(path: Path) -> list[Row]:
    return [json.loads(line) for line in (path / "rows-0.jsonl").read_text().splitlines()]


def write_rows(path: Path, rows: list[Row]) -> None:
    (path / "rows-0.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def key_of(path: Path) -> str:
    return read_info(path / "run.json").key


def redescribe(path: Path, change: Callable[[Row], None]) -> None:
    """A careful forger of run.json, who writes the check that fits."""
    file = path / "run.json"
    table = json.loads(file.read_text())
    change(table)
    table["check"] = digest({key: value for key, value in table.items() if key != "check"})
    file.write_text(json.dumps(table))


def reseal(path: Path, change: Callable[[Row], None], image: int = 3) -> None:
    """A careful forger: changes a row and writes the check that fits."""
    rows = rows_of(path)
    row = next(row for row in rows if row["image"] == image)
    change(row)
    row["check"] = row_digest(cast(Any, row), key_of(path))
    write_rows(path, rows)


def put(**values: Any) -> Callable[[Row], None]:
    return lambda row: row.update(values)


def test_every_check_of_an_untouched_run_passes(run: Path) -> None:
    assert set(verdicts(run).values()) == {"pass"}
    assert detail(run, "rows") == "12 of 12 images, each once"
    assert detail(run, "verdicts") == "24 verdicts"
    assert detail(run, "PNG files") == "24 files"


@pytest.mark.parametrize("batch_size", [1, 7])
def test_the_batch_size_of_the_check_does_not_matter(run: Path, batch_size: int) -> None:
    assert set(verdicts(run, batch_size=batch_size).values()) == {"pass"}


def test_progress_counts_every_image(bare: Path) -> None:
    done: list[int] = []
    verdicts(bare, tick=done.append)
    assert sum(done) == IMAGES


SEARCH = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@SEARCH
@given(place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_any_changed_byte_of_the_rows_is_detected(bare: Path, place: float, flip: int) -> None:
    path = bare / "rows-0.jsonl"
    content = path.read_bytes()
    changed = bytearray(content)
    changed[int(place * len(content))] ^= flip
    path.write_bytes(changed)
    now = verdicts(bare)
    path.write_bytes(content)
    assert now["row checks"] == "fail" or now["rows"] != "pass"


@SEARCH
@given(place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_any_changed_byte_of_a_shard_is_detected(bare: Path, place: float, flip: int) -> None:
    path = next((bare / "adv").iterdir())
    content = path.read_bytes()
    changed = bytearray(content)
    changed[int(place * len(content))] ^= flip
    path.write_bytes(changed)
    now = failed(bare)
    path.write_bytes(content)
    assert now == {"shards"}


FIELDS = {
    "image": 11,
    "label": 9,
    "target": 1,
    "clean": 9,
    "pred": {"2": 1, "4": 1},
    "distance": 0.0,
    "first_wrong": 3,
    "first_wrong_by": {"2": 2, "4": 3},
    "shard": "0" * 32 + ".safetensors",
    "check": "0" * 16,
    "more": 1,
}


@pytest.mark.parametrize("name", FIELDS)
def test_any_changed_field_of_a_row_is_detected(bare: Path, name: str) -> None:
    rows = rows_of(bare)
    rows[3][name] = FIELDS[name]
    write_rows(bare, rows)
    assert "row checks" in failed(bare)
    assert "1 of 12 rows; first: rows-0.jsonl, line 4 does not fit its check" in detail(
        bare, "row checks"
    )


def test_every_field_of_a_row_is_tried(bare: Path) -> None:
    assert set(rows_of(bare)[3]) <= set(FIELDS)


@pytest.mark.parametrize("name", sorted(FIELDS.keys() - {"more"}))
def test_rows_without_a_field_are_detected(bare: Path, name: str) -> None:
    write_rows(bare, [{k: v for k, v in row.items() if k != name} for row in rows_of(bare)])
    assert detail(bare, "row checks").startswith("12 of 12 rows; first: rows-0.jsonl, line 1 ")


def other(pred: int) -> int:
    return (pred + 1) % 10


LIES: dict[str, tuple[Callable[[Row], None], str]] = {
    "verdict": (lambda row: row["pred"].update({"4": other(row["pred"]["4"])}), "verdicts"),
    "no class": (lambda row: row["pred"].update({"4": 10}), "verdicts"),
    "negative class": (lambda row: row["pred"].update({"4": -1}), "verdicts"),
    "clean verdict": (lambda row: row.update(clean=other(row["clean"])), "clean verdicts"),
    "label": (lambda row: row.update(label=other(row["label"])), "labels"),
    "distance": (lambda row: row.update(distance=row["distance"] - 2e-6), "distances"),
    "distance nan": (put(distance=float("nan")), "row checks"),
    "another's shard": (lambda row: None, "shards"),
    "no shard of that name": (put(shard="0" * 32 + ".safetensors"), "shards"),
    "a reading too many": (lambda row: row["pred"].update({"8": 0}), "shards"),
    "first wrong too late": (
        lambda row: row.update(first_wrong=5, first_wrong_by={**row["first_wrong_by"], "4": 5}),
        "first wrong",
    ),
    "two first wrongs": (lambda row: row.update(first_wrong=3), "first wrong"),
    "not planned": (put(image=500), "rows"),
    "a second row": (put(image=4), "rows"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_forged_row_with_a_matching_check_is_detected(bare: Path, lie: str) -> None:
    change, check = LIES[lie]
    if lie == "another's shard":
        change = put(shard=rows_of(bare)[-1]["shard"])
    reseal(bare, change)
    assert check in failed(bare)


def test_a_broken_image_must_have_a_first_wrong(bare: Path) -> None:
    row = next(row for row in rows_of(bare) if row["pred"]["4"] != row["label"])
    reseal(
        bare,
        lambda row: row.update(first_wrong=None, first_wrong_by={"2": None, "4": None}),
        row["image"],
    )
    assert "first wrong" in failed(bare)


def test_a_target_that_was_not_drawn_is_detected(tmp_path: Path) -> None:
    folder = attacked(tmp_path, "float", replace(SPEC, targeted=True))
    assert not failed(folder)
    drawn = rows_of(folder)[3]
    free = next(c for c in range(10) if c not in (drawn["target"], drawn["label"]))
    reseal(folder, put(target=free))
    assert failed(folder) == {"labels"}
    assert f"image 3: label {drawn['label']}, target {free}" in detail(folder, "labels")


def forge(path: Path, change: Callable[[torch.Tensor], None]) -> None:
    """The most careful forger: changes images, renames their shard, seals its rows."""
    rows = rows_of(path)
    name = rows[0]["shard"]
    shard = images.read_shard(path / "adv" / name)
    change(shard.tensors["4"])
    (path / "adv" / name).unlink()
    new = images.write_shard(path / "adv", shard)
    for row in rows:
        if row["shard"] == name:
            row["shard"] = new
            row["check"] = row_digest(cast(Any, row), key_of(path))
    write_rows(path, rows)


MOVED = {
    "too far": lambda adv: adv[1].add_(0.2).clamp_(0, 1),
    "outside the box": lambda adv: adv[1].sub_(2),
    "nan": lambda adv: adv[1].fill_(float("nan")),
}


@pytest.mark.parametrize("how", MOVED)
def test_images_outside_ball_or_box_are_counted(bare: Path, how: str) -> None:
    forge(bare, MOVED[how])
    assert {"ball and box", "distances"} <= failed(bare)
    assert detail(bare, "ball and box").startswith("1 of 24 images; first: image 1, 4: ")


def test_shards_of_another_kind_are_refused(bare: Path) -> None:
    name = rows_of(bare)[0]["shard"]
    shard = images.read_shard(bare / "adv" / name)
    half = {reading: adv.half() for reading, adv in shard.tensors.items()}
    new = images.write_shard(bare / "adv", replace(shard, tensors=half))
    reseal(bare, put(shard=new), image=0)
    assert "torch.float16" in detail(bare, "shards")


def test_a_removed_shard_is_detected_for_each_of_its_images(bare: Path) -> None:
    (bare / "adv" / rows_of(bare)[0]["shard"]).unlink()
    assert failed(bare) == {"shards"}
    assert detail(bare, "shards").startswith("5 of 12 images; first: image 0: ")


def test_removing_all_shards_is_detected(bare: Path) -> None:
    shutil.rmtree(bare / "adv")
    assert failed(bare) == {"shards"}


def test_an_added_shard_is_detected(bare: Path) -> None:
    one = images.Shard((0,), {"4": torch.zeros(1, 3, 28, 28)})
    name = images.write_shard(bare / "adv", one)
    assert failed(bare) == {"other files"}
    assert name in detail(bare, "other files")


def test_removing_the_check_of_a_row_is_detected(bare: Path) -> None:
    rows = rows_of(bare)
    rows[3] = {key: value for key, value in rows[3].items() if key not in ("check", "shard")}
    write_rows(bare, rows)
    assert "row checks" in failed(bare)


def test_a_removed_row_makes_the_run_unfinished(bare: Path) -> None:
    write_rows(bare, rows_of(bare)[:-1])
    assert failed(bare) == {"rows"}
    assert "unfinished: 11 of 12 images, without 11; to continue: " in detail(bare, "rows")


def test_a_torn_last_line_makes_the_run_unfinished(bare: Path) -> None:
    path = bare / "rows-0.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    assert failed(bare) == {"rows"}


def test_a_run_without_rows_is_unfinished(bare: Path) -> None:
    write_rows(bare, [])
    assert failed(bare) == {"rows"}
    assert verdicts(bare)["verdicts"] == "skipped"


def test_two_rows_of_one_image_pass_if_they_agree(bare: Path) -> None:
    rows = rows_of(bare)
    write_rows(bare, [*rows, rows[0]])
    assert failed(bare) == set()
    assert detail(bare, "rows") == "12 of 12 images, 1 of them twice, alike"


def test_two_rows_of_one_image_that_differ_fail(bare: Path) -> None:
    rows = rows_of(bare)
    write_rows(bare, [*rows, dict(rows[3])])
    reseal(bare, put(distance=0.0))
    assert "rows" in failed(bare)


def test_a_row_in_place_of_another_is_detected(bare: Path) -> None:
    rows = rows_of(bare)
    write_rows(bare, [*rows[1:], rows[1]])
    assert failed(bare) == {"rows"}


@pytest.mark.parametrize(
    ("field", "value"), [("eps", 0.5), ("iters", [2]), ("norm", "l2"), ("targeted", True)]
)
def test_a_changed_description_is_detected(bare: Path, field: str, value: Any) -> None:
    def change(table: Row) -> None:
        place = table["attack"]["parameters"] if field == "iters" else table["attack"]
        place[field] = value

    redescribe(bare, change)
    assert "description" in failed(bare)


@pytest.mark.parametrize("part", ["model", "data", "found", "command", "attack"])
def test_an_edit_of_any_part_of_the_description_is_detected(bare: Path, part: str) -> None:
    path = bare / "run.json"
    table = json.loads(path.read_text())
    table[part] = {**table[part], "name": "x"} if isinstance(table[part], dict) else "x"
    path.write_text(json.dumps(table))
    with pytest.raises(SanityFailed, match="was edited"):
        read_run(bare)


def test_rows_of_another_seeds_run_are_detected(bare: Path, tmp_path: Path) -> None:
    other = attacked(tmp_path / "other", "float", SPEC, seed=1)
    shutil.copy(other / "rows-0.jsonl", bare)
    shutil.copytree(other / "adv", bare / "adv", dirs_exist_ok=True)
    assert "row checks" in failed(bare)


def test_rows_stripped_of_checks_shards_and_images_are_detected(bare: Path) -> None:
    rows = rows_of(bare)
    write_rows(bare, [{k: row[k] for k in row if k not in ("check", "shard")} for row in rows])
    shutil.rmtree(bare / "adv")
    assert "row checks" in failed(bare)


def test_a_reduced_number_of_images_is_detected(bare: Path) -> None:
    redescribe(bare, put(images=5))
    assert {"description", "rows"} <= failed(bare)


def test_one_changed_weight_is_detected_and_the_network_is_not_run(run: Path) -> None:
    net = Linear(10, 28, seed=0)
    with torch.no_grad():
        net.fc.weight[3, 500] += 1e-6
    now = verdicts(run, model(net))
    assert {check for check, verdict in now.items() if verdict == "fail"} == {"weights"}
    checks = ("clean verdicts", "verdicts", "PNG verdicts")
    assert [now[check] for check in checks] == ["skipped"] * 3


def test_other_data_are_detected_and_not_used(run: Path) -> None:
    held_out = open_data("fashion-mini", "held-out")
    now = {one.check: one.verdict for one in audit(read_run(run), model(), held_out, CPU)}
    assert now["data"] == "fail"
    assert now["ball and box"] == now["labels"] == "skipped"


def png(run: Path) -> Path:
    return run / "png" / "4" / "3.png"


def edit(path: Path) -> None:
    with Image.open(path) as image:
        red, green, blue = image.getpixel((5, 5))  # type: ignore[misc]
        image.putpixel((5, 5), (red - 1 if red else 1, green, blue))
        image.save(path)


EDITS: dict[str, Callable[[Path], object]] = {
    "a pixel by one": edit,
    "gone": Path.unlink,
    "cut": lambda path: path.write_bytes(path.read_bytes()[:60]),
    "a JPEG": lambda path: Image.open(path).save(path, format="JPEG"),
    "grey": lambda path: Image.open(path).convert("L").save(path),
    "small": lambda path: Image.open(path).resize((9, 9)).save(path),
}


@pytest.mark.parametrize("how", EDITS)
def test_an_edited_png_is_detected(run: Path, how: str) -> None:
    EDITS[how](png(run))
    assert failed(run) == {"PNG files"}
    assert detail(run, "PNG files").startswith("1 of 24 files; first: ")


def test_an_added_png_is_detected(run: Path) -> None:
    shutil.copy(png(run), png(run).with_name("300.png"))
    assert failed(run) == {"other files"}


def test_a_run_without_images_says_how_to_keep_them(tmp_path: Path) -> None:
    folder = attacked(tmp_path, None, SPEC)
    now = verdicts(folder)
    assert "fail" not in now.values()
    assert now["clean verdicts"] == now["labels"] == now["rows"] == "pass"
    assert now["ball and box"] == now["verdicts"] == "skipped"
    assert "--save-adv" in detail(folder, "ball and box")


class Noisy(Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x + torch.rand_like(x) / 10)


def test_verdicts_of_a_stochastic_network_are_not_checked(bare: Path) -> None:
    noisy = frozen(Noisy(10, 28, seed=0))
    now = verdicts(bare, replace(model(), net=noisy))
    assert "fail" not in now.values()
    assert now["verdicts"] == now["clean verdicts"] == "skipped"


def test_a_network_that_returns_nan_fails(bare: Path) -> None:
    class Broken(Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) * torch.nan

    assert {"clean verdicts", "verdicts"} <= failed(
        bare, judged=replace(model(), net=frozen(Broken(10, 28, seed=0)))
    )


class Tied(nn.Module):
    """Classes 0 and 1 tie up to rounding; the rest are less likely."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = torch.zeros(len(x), 10)
        logits[:, 0], logits[:, 1] = 1, 1 - 1e-6
        return logits


def test_a_verdict_across_a_tie_passes_and_is_reported(bare: Path) -> None:
    for image in range(IMAGES):
        reseal(bare, lambda row: row.update(clean=1), image)
    tied = replace(model(), net=Tied())
    assert verdicts(bare, tied)["clean verdicts"] == "pass"
    assert detail(bare, "clean verdicts", tied) == "12 verdicts (12 within rounding of a tie)"


def aimed(results: Path, kind: str, **changes: Any) -> Path:
    spec = pgd_spec(iters=(2,), targeted=True, targets=kind)
    return attacked(results, None, spec, **changes)


def retargeted(path: Path) -> None:
    """Moves every target to another wrong class, and seals the rows again."""
    rows = rows_of(path)
    for row in rows:
        others = [c for c in range(10) if c not in (row["label"], row["target"])]
        row["target"] = others[0]
        row["check"] = row_digest(cast(Any, row), key_of(path))
    (path / "rows-0.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize("kind", ["random", "least-likely", "file"])
def test_targets_are_chosen_again_and_others_fail(tmp_path: Path, kind: str) -> None:
    wanted = {image: (int(label) + 3) % 10 for image, label in enumerate(DATA.labels[:40])}
    changes = {"targets": wanted} if kind == "file" else {}
    path = aimed(tmp_path, kind, **changes)
    assert failed(path) == set()
    retargeted(path)
    assert failed(path) == {"labels"}


def test_a_file_of_targets_is_bound_to_its_run(
    tmp_path: Path,
) -> None:
    wanted = {image: (int(label) + 3) % 10 for image, label in enumerate(DATA.labels[:40])}
    path = aimed(tmp_path, "file", targets=wanted)
    kept = path / "targets.json"
    pairs = json.loads(kept.read_text())
    kept.write_text(json.dumps([[image, (target + 1) % 10] for image, target in pairs]))
    retargeted(path)
    assert failed(path) == {"labels"}
    kept.unlink()
    assert "targets.json, which holds the targets from a file, was deleted" in detail(
        path, "labels"
    )


class Masked(nn.Module):
    """Class 0 wins by a tenth, beside a class that is masked out."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = torch.zeros(len(x), 10)
        logits[:, 0], logits[:, 1], logits[:, 9] = 1, 0.9, -1e9
        return logits


def test_a_huge_logit_that_never_wins_makes_no_tie(bare: Path) -> None:
    assert verdicts(bare, replace(model(), net=Masked()))["clean verdicts"] == "fail"


def test_logits_are_compared_by_the_size_of_those_that_decide() -> None:
    wanted = torch.tensor([[3.0, 2.0, -1e9], [4.0, 1.0, -1e9]])
    assert relative_difference(wanted + torch.tensor([0.0, 0.3, 0.0]), wanted) == pytest.approx(0.1)
    assert relative_difference(wanted * (1 + 1e-6), wanted) < 2e-6
    assert relative_difference(wanted[:, :2], wanted) == float("inf")
    assert relative_difference(wanted * torch.nan, wanted) == float("inf")
    assert deciding(torch.tensor([[0.01, -9.0], [5.0, 1.0], [6.0, 0.0]])).tolist() == [9, 6, 6]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with a network on the disk and a run of it."""
    results = tmp_path_factory.mktemp("trained")
    torch_spec = ModelSpec("r20", width=2, classes=10, px=28)
    state = build(torch_spec).eval().state_dict()
    card = Card("mine", torch_spec, data={"name": "fashion-mini"}, weights=weights_hash(state))
    save_card(results / "checkpoints" / "mine.safetensors", state, card)
    attacked(results, "float", pgd_spec(iters=(1,)), model=open_model("mine", Workspace(results)))
    return results


def command(*words: object) -> Result:
    return CliRunner().invoke(verify, [str(word) for word in words])


def test_the_command_takes_a_path_or_a_name(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder,) = (trained / "runs").iterdir()
    for name in (folder, folder.name):
        result = command(name, "--results", trained, "--json")
        assert result.exit_code == 0, result.output
        (report,) = json.loads(result.stdout)
        assert report["run"] == str(folder)
        assert {
            "check": "rows",
            "verdict": "pass",
            "found": "12 of 12 images, each once",
        } in report["checks"]
    assert "pass" in command(folder, "--results", trained).stdout


def test_the_command_exits_with_3_and_names_the_run(trained: Path, tmp_path: Path) -> None:
    results = Path(shutil.copytree(trained, tmp_path / "results"))
    (folder,) = (results / "runs").iterdir()
    reseal(folder, lambda row: row.update(clean=other(row["clean"])))
    result = command(folder, "--results", results)
    assert result.exit_code == 3
    assert f"{folder}: clean verdicts" in result.stderr


def test_a_changed_byte_of_the_weights_exits_with_3(trained: Path, tmp_path: Path) -> None:
    results = Path(shutil.copytree(trained, tmp_path / "results"))
    (folder,) = (results / "runs").iterdir()
    weights = results / "checkpoints" / "mine.safetensors"
    content = bytearray(weights.read_bytes())
    content[-3] ^= 1
    weights.write_bytes(content)
    result = command(folder, "--results", results, "--json")
    assert result.exit_code == 3
    assert "mine.safetensors is not what was written" in result.stderr
    now = {one["check"]: one["verdict"] for one in json.loads(result.stdout)[0]["checks"]}
    assert now["weights"] == "fail"
    assert now["ball and box"] == "pass"
    again = command(folder, "--results", results, "--model", trained / "checkpoints" / weights.name)
    assert again.exit_code == 0


def test_a_forged_card_does_not_help_changed_weights(trained: Path, tmp_path: Path) -> None:
    (folder,) = (trained / "runs").iterdir()
    tensors, card = load_card(trained / "checkpoints" / "mine.safetensors")
    next(iter(tensors.values())).flatten()[0] += 1
    forged = tmp_path / "forged.safetensors"
    save_card(forged, tensors, replace(card, weights=weights_hash(tensors)))
    assert command(folder, "--results", trained, "--model", forged).exit_code == 3


def test_an_unknown_run_is_named(trained: Path) -> None:
    with pytest.raises(BadValue, match="no run 'nosuch'"):
        find_run(Workspace(trained), "nosuch")
    assert command("nosuch", "--results", trained).exit_code == 2
