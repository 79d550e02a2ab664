"""Files that `fdbench submission new` copies; fdbench itself imports none of them."""

from importlib.resources import files


def attack_template() -> str:
    """Returns the Python script of an attack to start from."""
    return (files(__package__) / "attack.py").read_text(encoding="utf-8")
