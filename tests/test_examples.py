"""The scripts under examples/ run as they stand, and are as short as they say."""

import ast
import os
import subprocess
import sys
from pathlib import Path

from PIL import Image

EXAMPLES = Path(__file__).parent.parent / "examples"
NETS = """
from conftest import Small, frozen

def first():
    return frozen(Small(classes=10))

def second():
    return frozen(Small(classes=10, seed=1))
"""


def test_twenty_lines_lead_from_load_model_to_a_table_and_a_figure(tmp_path: Path) -> None:
    script = EXAMPLES / "compare.py"
    code = [one for one in ast.parse(script.read_text()).body if not isinstance(one, ast.Expr)]
    lines = {line for one in code for line in range(one.lineno, (one.end_lineno or 0) + 1)}
    assert "fdbench.load_model(" in script.read_text()
    assert len(lines) <= 20

    (tmp_path / "nets.py").write_text(NETS)
    paths = f"import sys; sys.path[:0] = {[str(tmp_path), str(Path(__file__).parent)]!r}"
    run = f"{paths}; import runpy; runpy.run_path({str(script)!r}, run_name='__main__')"
    shown = subprocess.run(
        [sys.executable, "-c", run, "nets:first", "nets:second"],
        check=True, cwd=tmp_path, env={**os.environ, "MPLBACKEND": "agg"},
        stdout=subprocess.PIPE, text=True,
    ).stdout  # fmt: skip
    assert all(word in shown for word in ("robust_low", "nets:first", "nets:second"))
    with Image.open(tmp_path / "compare.png") as figure:
        assert len(figure.convert("L").getcolors(2**20) or []) > 50, "the figure is not empty"
