"""The exported schemas hold for what runs write, refuse what is none, and are those in docs/."""

import json
from pathlib import Path

import jsonschema
import pytest
from click.testing import CliRunner
from madeup import decaying, run_json

from fdbench.commands import main
from fdbench.store import row_schema, run_schema

ROOT = Path(__file__).parent.parent.parent


def test_what_a_run_writes_fits_the_schemas(tmp_path: Path) -> None:
    run = decaying(tmp_path, "r20", {0: 90, 10: 60}, targeted=True)
    jsonschema.validate(run_json(run), run_schema())
    for line in (run / "rows-0.jsonl").read_text().splitlines():
        jsonschema.validate(json.loads(line), row_schema())


@pytest.mark.parametrize("change", [{"format": 3}, {"images": "many"}, {"attack": {}}])
def test_another_version_or_a_wrong_type_does_not_fit(
    tmp_path: Path, change: dict[str, object]
) -> None:
    table = run_json(decaying(tmp_path, "r20", {0: 90, 10: 60}))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**table, **change}, run_schema())


@pytest.mark.parametrize("change", [{"label": "3"}, {"pred": {"10": "cat"}}, {"clean": None}])
def test_a_line_that_is_no_row_does_not_fit(change: dict[str, object]) -> None:
    good = {"image": 1, "label": 3, "clean": 3, "pred": {"10": 3}, "distance": 0.01}
    jsonschema.validate(good, row_schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**good, **change}, row_schema())


def test_the_schemas_in_docs_are_those_of_the_code(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["export", "schema", "--output", str(tmp_path)])
    assert result.exit_code == 0, result.output
    for name in ("run.schema.json", "row.schema.json"):
        assert (tmp_path / name).read_text() == (ROOT / "docs" / name).read_text()
