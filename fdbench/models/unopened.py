"""References that name no network: what to type instead."""

import ast
from collections.abc import Iterable
from pathlib import Path

from fdbench.errors import BadValue, FdbenchError, nearest, unknown
from fdbench.models.catalogue import ZOO
from fdbench.models.zoo.timm import timm_names
from fdbench.models.zoo.torchvision import torchvision_names
from fdbench.models.zoo.users_code import account
from fdbench.specs import model_recipe
from fdbench.store import Workspace

FORMS = (
    "a name, a .safetensors file, FILE.py:FUNCTION, a TorchScript or torch.export file, "
    "FILE.pt with --arch or --factory, tv:NAME[:WEIGHTS], timm:NAME[:TAG], hf:OWNER/REPO, "
    "rb:DATA/THREAT/NAME, defense:DIR or module:function"
)
_HINT = f"--model takes {FORMS}.\n`fdbench list models` shows all names."


def no_weights(row: str, workspace: Workspace) -> FdbenchError:
    """Returns the error for a row of models/ without weights: how to get some."""
    recipe = model_recipe(row)
    spec = recipe.spec
    command = f"fdbench train --arch {spec.arch}"
    command += f" --denoise {spec.denoise}" if spec.denoise != "none" else ""
    command += f" --denoise-at {spec.denoise_at}" if spec.denoise_at != "stages" else ""
    command += f" --block {spec.block}" if spec.block != "full" else ""
    fetch = f"\nOr fetch {recipe.weights}: fdbench import FILE.npz" if recipe.weights else ""
    elsewhere = _elsewhere(row)
    other = f"\nOr take another package's: {elsewhere}" if elsewhere else ""
    return FdbenchError(
        f"model {row!r} has no weights in {workspace.checkpoints}.\n"
        f"Train it: {command}{fetch}{other}"
    )


def no_model(name: str, known: Iterable[str]) -> BadValue:
    """Returns the error for a name that no network has."""
    names = list(known)
    same = [one for one in names if one.lower() == name.lower()] or _elsewhere(name)
    same = same or nearest(name, names) or _elsewhere(name, cutoff=0.8)
    if same:
        return BadValue(f"no model {name!r}. Did you mean {' or '.join(map(repr, same))}?\n{_HINT}")
    return unknown("model", name, names, _HINT)


def no_module(home: str, ref: str) -> BadValue:
    """Returns the error for a reference `home:...` where there is no such module."""
    prefixes = nearest(home, [*ZOO, "defense"], cutoff=0.8)
    near = [f"{prefix}:{ref.partition(':')[2]}" for prefix in prefixes] or _elsewhere(home)
    meant = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    return BadValue(
        f"no module {home!r} for --model {ref}, looked in {Path.cwd()} and in the environment."
        f"{meant}\n{_HINT}"
    )


def _elsewhere(name: str, cutoff: float = 1.0) -> list[str]:
    """Returns the references of the other packages' networks of that name, or of a near one."""
    sources = {"tv": torchvision_names, "timm": timm_names}
    return [
        f"{prefix}:{near}"
        for prefix, names in sources.items()
        for near in nearest(name, names(), cutoff=cutoff)
    ]


def no_onnx(path: Path) -> FdbenchError:
    """Returns the error for an ONNX file: its runtimes give no gradient of the image."""
    return FdbenchError(
        f"{path} is an ONNX file, and its runtimes give no gradients: attacks by them would be "
        "guesses.\nGive the network it was exported from, as code (--model net.py:load), "
        "TorchScript (torch.jit.save) or torch.export."
    )


def missing_file(path: Path, suffixes: tuple[str, ...]) -> FdbenchError:
    """Returns the error for a file that does not exist: the nearest ones in its folder."""
    if not path.parent.is_dir():
        return FdbenchError(f"no file {path}: there is no folder {path.parent}.")
    files = sorted(one.name for one in path.parent.iterdir() if one.name.endswith(suffixes))
    near = nearest(path.name, files, n=3)
    text = f"no file {path}."
    text += f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    text += f"\nThere: {', '.join(files[:12])}{', ...' * (len(files) > 12)}." if files else ""
    return FdbenchError(text)


def no_maker(path: Path) -> FdbenchError:
    """Returns the error for a .py file without a function after it; the file is not run."""
    try:
        tree = ast.parse(path.read_bytes(), str(path))
    except (SyntaxError, ValueError) as reason:
        return FdbenchError(f"{path} is not Python:\n{account(reason)}")
    typed = [
        f"--model '{path}:{node.name}{_query(node)}'"
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
    ]
    named = "\n".join(["Type one of:", *typed]) if typed else "It has no function or class."
    return BadValue(
        f"{path} is code: say which function, class or network in it is the model.\n{named}"
    )


def _query(node: ast.FunctionDef | ast.ClassDef) -> str:
    """Returns the arguments that must be given, as in `?ckpt=VALUE`."""
    inits = [
        one for one in node.body if isinstance(one, ast.FunctionDef) and one.name == "__init__"
    ]
    taken = [node] if isinstance(node, ast.FunctionDef) else inits
    names: list[str] = []
    for function in taken:
        given = [*function.args.posonlyargs, *function.args.args]
        names += [one.arg for one in given[: len(given) - len(function.args.defaults)]]
        pairs = zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True)
        names += [one.arg for one, default in pairs if default is None]
    wanted = names if isinstance(node, ast.FunctionDef) else names[1:]  # without self
    return "?" + "&".join(f"{name}=VALUE" for name in wanted) if wanted else ""
