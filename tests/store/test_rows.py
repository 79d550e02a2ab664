"""Rows have one schema: writer, reader and audit all refuse what does not fit it."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st
from madeup import info, store

from fdbench.evaluation.audit import read_run
from fdbench.store.rows import (
    ROW_FIELDS,
    BadRow,
    Row,
    add_fields,
    decode_row,
    encode_row,
    row_digest,
)
from fdbench.store.runs import read_runs

# Lines as fdbench has written them, of each attack; readers must always accept them.
LINES = {
    "pgd": b'{"image": 0, "label": 9, "target": null, "clean": 5, "pred": {"10": 5, "20": 9}, '
    b'"distance": 0.0156863, "first_wrong": 12, "first_wrong_by": {"10": null, "20": 12}}',
    "targeted pgd": b'{"image": 2, "label": 9, "target": 4, "clean": 9, "pred": {"5": 4}, '
    b'"distance": 0.0313725, "first_wrong": null, "first_wrong_by": {"5": null}}',
    "kept images": b'{"image": 0, "label": 9, "target": null, "clean": 5, "pred": {"20": 5}, '
    b'"distance": 0.0156863, "first_wrong": 1, "first_wrong_by": {"20": 1}, '
    b'"shard": "91d1a429256dba1414e5d3b416e084a1.safetensors", "check": "fcb159ac737487b7"}',
    "autoattack": b'{"image": 0, "label": 9, "target": null, "clean": 5, "pred": '
    b'{"autoattack": 5}, "distance": 0.0, "broken_by": "clean", "check": "e853a029fc269879"}',
    "unbroken": b'{"image": 0, "label": 9, "target": null, "clean": 9, "pred": '
    b'{"autoattack": 9}, "distance": 0, "broken_by": null}',
    "fast": b'{"image": 0, "label": 9, "target": null, "clean": 9, "pred": {"fast": 5}, '
    b'"distance": 0.0313725, "broken_by": "targeted", "passes": 86}',
    "foolbox": b'{"image": 0, "label": 9, "target": null, "clean": 5, "pred": '
    b'{"L2DeepFoolAttack": 5}, "distance": 0.0, "gave_up": false, "check": "b938056e2fcd333e"}',
    "transfer": b'{"image": "a.png", "label": 9, "target": null, "clean": 5, "pred": '
    b'{"one": 5, "two": 5}, "distance": 0.0, "unattacked": ["two"]}',
    "random network": b'{"image": 0, "label": 9, "target": null, "clean": 9, "pred": '
    b'{"autoattack": 5}, "distance": 0.03, "broken_by": "apgd-ce", "draws": {"autoattack": 2}}',
    "first release": b'{"image": 0, "label": 3, "target": null, "clean": 3, "pred": {"10": 3}, '
    b'"first_wrong": 2, "distance": 0.03}',
    "another package's": b'{"image": 0, "label": 3, "clean": 3, "pred": {"mine": 3}, '
    b'"distance": 0.03, "queries": [1, null, {"a": 1.5}]}',
}


@pytest.mark.parametrize("attack", LINES)
def test_a_row_of_each_attack_is_read_and_written_byte_for_byte(attack: str) -> None:
    line = LINES[attack]
    assert decode_row(line) == decode_row(line, strict=True) == json.loads(line)
    assert encode_row(decode_row(line)) == line


@pytest.mark.parametrize("attack", LINES)
def test_a_row_of_each_attack_is_stored_read_and_audited(tmp_path: Path, attack: str) -> None:
    folder = store(tmp_path, replace(info(images=1), format=3), [])
    (folder / "rows-0.jsonl").write_bytes(LINES[attack] + b"\n")
    assert list(read_runs(tmp_path)[0].rows) == [json.loads(LINES[attack])]
    assert read_run(folder).faults == ()


def test_the_lines_above_hold_every_field_of_the_schema() -> None:
    assert {name for line in LINES.values() for name in json.loads(line)} >= set(ROW_FIELDS)


def test_the_schema_matches_the_type_and_explains_each_field() -> None:
    assert {name: field.kind for name, field in ROW_FIELDS.items()} == get_type_hints(Row)
    assert {name for name, field in ROW_FIELDS.items() if field.required} == {
        "image", "label", "clean", "pred", "distance"
    }  # fmt: skip
    assert all(field.meaning for field in ROW_FIELDS.values())


FULL: dict[str, Any] = {
    name: value
    for line in LINES.values()
    for name, value in json.loads(line).items()
    if name in ROW_FIELDS
}
WRONG: dict[str, list[object]] = {
    "image": [1.0, None, True, [1]],
    "label": [None, "3", 3.0, True],
    "target": ["3", 3.0, False, [3]],
    "clean": [None, "3", 3.5],
    "pred": [None, 3, [], {}, {"10": None}, {"10": "3"}, {"10": True}],
    "distance": [None, "0", True, [0.0]],
    "first_wrong": ["2", 2.0, True],
    "first_wrong_by": [None, 3, [2], {"10": "2"}, {"10": False}],
    "broken_by": [3, True, ["square"]],
    "passes": [None, "3", 3.5],
    "draws": [None, 3, {"10": "2"}, {"10": None}],
    "gave_up": [None, 0, "no"],
    "unattacked": [None, "two", {"two": 1}, [2]],
    "shard": [None, 3, ["x"]],
    "check": [None, 3],
}


def wrong() -> Iterator[Any]:
    for name, values in WRONG.items():
        for value in values:
            yield pytest.param({**FULL, name: value}, f"has {name} ", id=f"{name}={value}")
    for name, field in ROW_FIELDS.items():
        if field.required:
            less = {key: value for key, value in FULL.items() if key != name}
            yield pytest.param(less, f"lacks {name}", id=f"no {name}")


def test_a_wrong_value_of_every_field_is_tried() -> None:
    assert set(WRONG) == set(ROW_FIELDS)


@pytest.mark.parametrize(("row", "why"), [*wrong()])
def test_a_wrong_field_is_refused_by_reader_audit_and_writer(
    tmp_path: Path, row: dict[str, Any], why: str
) -> None:
    why = "has no prediction" if row.get("pred") == {} else why
    folder = store(tmp_path, info(images=2), [json.loads(LINES["pgd"])])
    with (folder / "rows-0.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")
    (warning,) = read_runs(tmp_path)[0].info.warnings
    assert f"rows-0.jsonl, line 2 {why}" in warning
    (fault,) = read_run(folder).faults
    assert fault.startswith(f"rows-0.jsonl, line 2 {why}")
    with pytest.raises(BadRow, match=why):
        encode_row(row)  # type: ignore[arg-type]


@pytest.mark.parametrize("line", [b"", b"nonsense", b"[]", b"null", b'{"image": 1', b"\xff"])
def test_a_line_that_is_no_json_object_is_not_a_row(line: bytes) -> None:
    with pytest.raises(BadRow, match="is not a row"):
        decode_row(line)


def test_values_that_json_lacks_are_not_written() -> None:
    row = decode_row(LINES["pgd"])
    for value in (float("nan"), float("inf")):
        with pytest.raises(BadRow, match="can't be written"):
            encode_row({**row, "distance": value})


def test_every_reader_checks_the_digest_and_a_strict_one_the_bytes() -> None:
    loose = LINES["kept images"].replace(b": ", b":")
    changed = LINES["kept images"].replace(b'"label": 9', b'"label": 8')
    bare = LINES["kept images"].replace(b', "check": "fcb159ac737487b7"', b"")
    assert decode_row(loose)
    with pytest.raises(BadRow, match="as it was written"):
        decode_row(loose, strict=True)
    for line in (changed, bare):
        with pytest.raises(BadRow, match="its check"):
            decode_row(line)


def test_a_row_is_bound_to_its_run() -> None:
    row = decode_row(LINES["pgd"])
    row["check"] = row_digest(row, "this run")
    assert decode_row(encode_row(row), "this run") == row
    for run in ("another run", ""):
        with pytest.raises(BadRow, match="its check"):
            decode_row(encode_row(row), run)
    with pytest.raises(BadRow, match="its check"):
        decode_row(LINES["pgd"], "this run")


@pytest.mark.parametrize("attack", [name for name, line in LINES.items() if b"check" in line])
def test_a_check_is_the_digest_of_all_other_fields(attack: str) -> None:
    row = decode_row(LINES[attack])
    assert row_digest(row) == row["check"]
    assert row_digest({**row, "label": 1}) != row["check"]


WHOLE = st.integers(-(2**63), 2**63 - 1)
JSON = st.recursive(
    st.none() | st.booleans() | WHOLE | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda some: st.lists(some) | st.dictionaries(st.text(), some),
    max_leaves=4,
)  # fmt: skip
OTHER_NAMES = st.text().filter(lambda name: name not in ROW_FIELDS)


@given(st.dictionaries(OTHER_NAMES, JSON, max_size=3), WHOLE | st.text())
def test_any_further_field_is_kept_and_comes_back_with_the_same_bytes(
    further: dict[str, Any], image: int | str
) -> None:
    row = {**decode_row(LINES["pgd"]), "image": image}
    add_fields(row, further)  # type: ignore[arg-type]
    row["check"] = row_digest(row)  # type: ignore[arg-type]
    line = encode_row(row)  # type: ignore[arg-type]
    assert decode_row(line, strict=True) == row
    assert encode_row(decode_row(line)) == line


def test_an_attack_may_not_overwrite_a_field_of_every_row() -> None:
    row = decode_row(LINES["pgd"])
    with pytest.raises(ValueError, match="label: every row has that"):
        add_fields(row, {"broken_by": None, "label": 3})
    assert row == decode_row(LINES["pgd"])


def test_an_integer_that_no_reader_takes_is_not_written() -> None:
    row = {**decode_row(LINES["pgd"]), "queries": 2**63}
    with pytest.raises(BadRow, match="can't be written: it has an integer of more than 64 bits"):
        encode_row(cast(Row, row))
