"""RobustBench's files: what is written is read back, and claims are held beside measurements."""

import json
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner
from madeup import decaying, info, row, store

from fdbench.commands import main
from fdbench.errors import FdbenchError
from fdbench.reporting import robustbench_files
from fdbench.reporting.report import write_report
from fdbench.reporting.robustbench import read_entry
from fdbench.reporting.selection import Selection

# The fields of RobustBench's model_info/cifar10/Linf/Engstrom2019Robustness.json, and their kinds.
THEIRS = {
    "link": "https://github.com/MadryLab/robustness", "name": "Robustness library",
    "authors": "Logan Engstrom", "additional_data": False, "number_forward_passes": 1,
    "dataset": "cifar10", "venue": "GitHub", "architecture": "ResNet-50", "eps": "8/255",
    "clean_acc": "87.03", "reported": "53.29", "autoattack_acc": "49.25",
}  # fmt: skip


@pytest.fixture
def results(tmp_path: Path) -> Path:
    decaying(tmp_path, "r20", {0: 90, 10: 60})
    answers = [{"autoattack": 3 if i < 45 else 5} for i in range(100)]
    rows = [{**row(i, None, (), clean=i < 90), "pred": answers[i]} for i in range(100)]
    store(tmp_path, info("r20", (), attack="autoattack", version="standard"), rows)
    decaying(tmp_path, "r20", {0: 90, 10: 50}, targeted=True)
    return tmp_path


def claim(folder: Path, **changes: object) -> Path:
    path = folder / "Linf" / "r20.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({**THEIRS, **changes}))
    return path


def test_a_file_has_that_projects_fields_and_percentages(results: Path) -> None:
    ((path, text),) = robustbench_files(results)
    assert path.startswith("fashion-mini/Linf/r20-")
    entry = json.loads(text)
    assert set(THEIRS) <= set(entry)
    assert (entry["clean_acc"], entry["autoattack_acc"], entry["eps"]) == (
        "90.00",
        "45.00",
        "8/255",
    )
    assert entry["reported"] == "45.00", "the worst case over PGD and AutoAttack"
    assert "targeted" not in entry["footnote"]


def test_what_is_written_is_read_back(results: Path) -> None:
    command = ["export", "robustbench", "--results", str(results), "--output", str(results)]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    entry = read_entry(Path(result.stdout.strip()))
    assert (entry["norm"], entry["clean_acc"], entry["autoattack_acc"]) == ("linf", 90, 45)
    assert entry["eps"] == pytest.approx(8 / 255)


def test_claims_stand_beside_the_measurements_of_their_threat_alone(results: Path) -> None:
    path = claim(results)
    report = write_report(results, None, Selection(claims=(path,)))
    table = report.tables["claims"].set_index("claim")
    assert table["measured"].to_dict() == {"clean_acc": 90, "autoattack_acc": 45, "reported": 45}
    assert table["verdict"].to_dict() == dict.fromkeys(table.index, "within")
    assert (results / "claims.md").is_file()
    high = write_report(results, None, Selection(claims=(claim(results, autoattack_acc="70"),)))
    verdicts = high.tables["claims"].set_index("claim")["verdict"]
    assert verdicts["autoattack_acc"] == "above"


def test_a_claim_about_another_eps_is_not_used_and_said_so(results: Path) -> None:
    report = write_report(results, None, Selection(claims=(claim(results, eps="4/255"),)))
    assert "claims" not in report.tables
    assert "1 RobustBench files are about no network and threat here" in report.warnings


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[", "not a RobustBench file"), ("[]", "no clean_acc"), ('{"clean_acc": "1"}', "no eps"),
        ('{"eps": "8/255", "clean_acc": "x"}', "no percentage"),
        ('{"eps": "8/255", "clean_acc": "101"}', "no percentage"),
        ('{"eps": "8/255", "clean_acc": "nan"}', "no percentage"),
        ('{"eps": "8", "clean_acc": "1"}', "8/255"),
    ],
)  # fmt: skip
def test_a_file_of_another_form_is_named(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(FdbenchError, match=why):
        read_entry(path)


def test_rows_are_exported_as_one_tidy_table(results: Path) -> None:
    for kind, read in (("csv", pd.read_csv), ("parquet", pd.read_parquet)):
        if kind == "parquet":
            pytest.importorskip("pyarrow", reason="the extra fdbench[parquet] is not installed")
        line = f"export {kind} --results {results} --output {results / kind}"
        result = CliRunner().invoke(main, line.split())
        assert result.exit_code == 0, result.output
        table = read(result.stdout.strip())
        assert len(table) == 300
        assert table["right"].sum() == 60 + 45 + 50
