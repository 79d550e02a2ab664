"""Lines that are read by their pattern are read as `decode_row` reads them, or left to it."""

import hashlib
import json
import pickle
import random
from pathlib import Path
from typing import Any, cast

import pytest
from madeup import info, row, sealed, store
from test_rows import LINES

from fdbench.store.alike import AlikeLines, Shape
from fdbench.store.columns import ColumnsBuilder
from fdbench.store.reading import read_columns, read_rows
from fdbench.store.rows import Row, decode_row, row_digest

KEY = "0123456789abcdef"
# Spellings of values: as fdbench writes them, as other programs might, and none of JSON's.
SPELLINGS = (
    *("0", "-0", "1", "01", "+1", "-7", "1.0", "-0.0", "0.50", "1e5", "1E+5", "1e-05", "1e+16"),
    *("1e400", "0.1", "0.10000000000000001", "9" * 18, "9" * 19, str(2**63), "NaN", "Infinity"),
    *("null", "true", "false", '""', '"a.png"', '"a\\u0062"', '"é"', '"\\ud800"', '"\x7f"'),
    *('"a/b"', '"a\\/b"', '"%b"', '"clean"', "[]", '{"10": 3}', "", "3, ", " 3", '"0" '),
)

LEFT = {"transfer", "another package's"}  # to decode_row: they have lists


def spelt(line: bytes) -> dict[str, Any]:
    """The values of a row as they are written, but for its check; tables as tables."""
    return {
        name: {key: json.dumps(one) for key, one in value.items()}
        if isinstance(value, dict)
        else json.dumps(value)
        for name, value in json.loads(line).items()
        if name != "check"
    }


def text(fields: dict[str, Any], ordered: bool) -> str:
    """A table of such values."""
    names = sorted(fields) if ordered else list(fields)
    parts = [
        f"{json.dumps(n)}: {text(v, ordered) if isinstance(v := fields[n], dict) else v}"
        for n in names
    ]
    return "{" + ", ".join(parts) + "}"


def written(fields: dict[str, Any]) -> bytes:
    """The line of these spellings, with a check that fits the bytes as they are."""
    hashed = text({**fields, "check": f'"{KEY}"'}, ordered=True).encode()
    check = hashlib.sha256(hashed).hexdigest()[:16]
    return text({**fields, "check": f'"{check}"'}, ordered=False).encode()


def respelt(rng: random.Random, fields: dict[str, Any]) -> dict[str, Any]:
    """The same row with one value in another spelling."""
    name = rng.choice(list(fields))
    if not isinstance(fields[name], dict):
        return {**fields, name: rng.choice(SPELLINGS)}
    return {**fields, name: respelt(rng, fields[name])}


def learnt(line: bytes) -> AlikeLines:
    lines = AlikeLines(ColumnsBuilder(), KEY)
    assert lines.take(line) is None
    lines.learn(decode_row(line, KEY))
    return lines


def shape_of(fields: dict[str, Any]) -> Shape:
    shape = Shape.of(decode_row(written(fields), KEY), KEY)
    assert shape
    return shape


@pytest.mark.parametrize("attack", sorted(LINES.keys() - LEFT))
def test_any_spelling_is_read_as_decode_row_reads_it_or_left_to_it(attack: str) -> None:
    fields = spelt(LINES[attack])
    shape, rng, taken = shape_of(fields), random.Random(attack), 0
    for _ in range(2000):
        line = written(respelt(rng, fields))
        texts = shape.texts(line)
        if texts is None:
            continue
        row, taken = cast(dict[str, Any], decode_row(line, KEY)), taken + 1
        for (name, entry), one in zip(shape.slots, texts, strict=True):
            value = row[name][entry] if isinstance(row[name], dict) else row[name]
            assert json.loads(f'"{one.decode()}"' if name == "check" else one) == value
    assert taken > 20


@pytest.mark.parametrize("attack", sorted(LEFT))
def test_rows_with_fields_of_other_kinds_are_left_to_decode_row(attack: str) -> None:
    assert Shape.of(decode_row(written(spelt(LINES[attack])), KEY), KEY) is None


@pytest.mark.parametrize("attack", sorted(LINES.keys() - LEFT))
def test_a_line_that_was_changed_after_it_was_checked_is_not_taken(attack: str) -> None:
    line = written({**spelt(LINES[attack]), "distance": "0.25"})
    rng, lines = random.Random(attack), learnt(line)
    assert lines.take(line) is False, "its image was read already"
    for _ in range(500):
        place = rng.randrange(len(line))
        changed = line[:place] + bytes([line[place] ^ rng.randrange(1, 256)]) + line[place + 1 :]
        assert lines.take(changed) is None


def test_names_that_look_like_a_pattern_are_names(tmp_path: Path) -> None:
    names = ("%b", "%", "(.*)", "\\", '"', '"\\u00003"', "\0", "\0" + "3", "é", "", "{", "1", "a,b")
    rows = [
        {"image": f"{name}{i}", "label": i, "clean": 1, "pred": {name: 2, "x": i}, "distance": 0.5}
        for name in names
        for i in range(3)
    ]
    run = info(images=len(rows))
    folder = store(tmp_path, run, rows)
    read = read_columns(folder, run.key)
    assert (read.damaged, read.warnings) == ((), ())
    assert read_rows(folder, run.key) == sealed(run, rows)
    assert read.columns.images.tolist() == [row["image"] for row in rows]
    assert list(read.columns.pred) == ["%b", "x", *names[1:]]
    for name in names:
        one = read.columns.pred[name]
        assert one.values.tolist() == [2, 2, 2]
    assert read.columns.pred["x"].values.tolist() == [0, 1, 2] * len(names)


def test_rows_of_many_shapes_keep_their_order(tmp_path: Path) -> None:
    run, rng = info(images=400), random.Random(0)
    rows = []
    for image in range(400):
        budgets = rng.sample(["10", "20", "50"], rng.randint(1, 3))
        row = {
            "image": image if rng.random() < 0.8 else f"{image}",
            "label": image,
            "clean": rng.choice([-3, 10**18, 7]),
            "pred": {budget: image + int(budget) for budget in budgets},
            "distance": rng.choice([0, 0.25, 1e-9, -0.0]),
        }
        rows.append(row if rng.random() < 0.5 else {**row, "broken_by": rng.choice(["a", None])})
    folder = store(tmp_path, run, rows)
    columns = read_columns(folder, run.key).columns
    assert columns.images.tolist() == [row["image"] for row in rows]
    assert columns.label.tolist() == list(range(400))
    assert columns.clean.tolist() == [row["clean"] for row in rows]
    for budget, one in columns.pred.items():
        have = [row for row in rows if budget in cast(Row, row)["pred"]]
        assert one.places is not None
        assert one.places.tolist() == [row["label"] for row in have]
        assert one.values.tolist() == [cast(Row, row)["pred"][budget] for row in have]


def test_a_row_is_checked_against_its_run(tmp_path: Path) -> None:
    row = decode_row(LINES["pgd"])
    lines = []
    for image, key in enumerate([KEY, KEY, "another run", KEY]):
        row = {**row, "image": image}
        lines.append(json.dumps({**row, "check": row_digest(row, key)}))
    (tmp_path / "rows-0.jsonl").write_text("\n".join([*lines, ""]))
    read = read_columns(tmp_path, KEY)
    assert read.columns.images.tolist() == [0, 1, 3]
    assert "line 3 does not fit its check" in read.damaged[0]


def test_a_row_takes_a_few_dozen_bytes(tmp_path: Path) -> None:
    run = info(images=5000)
    rows = [row(image, image % 150, (10, 100)) for image in range(5000)]
    columns = read_columns(store(tmp_path, run, rows), run.key).columns
    assert len(columns) == 5000
    assert len(pickle.dumps(columns)) < 24 * 5000
