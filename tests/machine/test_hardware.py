import os
import shutil
import subprocess
from pathlib import Path

import pytest

from fdbench.machine import hardware


@pytest.mark.skipif(not shutil.which("git"), reason="needs git")
def test_asking_for_the_revision_writes_nothing_into_the_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "code.py").write_text("")
    words = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    for command in (["init", "-q"], ["add", "."], [*words, "commit", "-qm", "x"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    os.utime(tmp_path / "code.py", (0, 0))  # git would note the new time in its index
    index = tmp_path / ".git" / "index"
    before = index.read_bytes()
    monkeypatch.setattr(hardware, "_CHECKOUT", tmp_path)
    revision = hardware._revision()
    assert revision
    assert not revision.endswith("dirty")
    assert index.read_bytes() == before
    (tmp_path / "code.py").write_text("edited = True\n")
    assert hardware._revision() == f"{revision}-dirty"
