"""`module:attribute` and `FILE.py:attribute[?name=value&...]`: networks that Python code makes.

The attribute is a network, or a function or class that returns one. What follows the `?` are its
keyword arguments: whole numbers, numbers, true and false become int, float and bool; the name of an
existing file or folder (in the working directory, or beside FILE.py) becomes its absolute path;
anything else stays text. A file's reference is its absolute path, so it means the same everywhere.
"""

import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import quote, unquote

from torch import nn

from fdbench.errors import BadValue, FdbenchError, unknown
from fdbench.models.unopened import no_module
from fdbench.models.zoo.users_code import is_installed, users_code

Argument = int | float | bool | str

_FORM = re.compile(r"(?P<home>[^?]+):(?P<attribute>[^:?]+)(?:\?(?P<query>.*))?", re.DOTALL)
_WORDS = {"true": True, "false": False}


@dataclass(frozen=True)
class Code:
    """What a reference names, with paths made absolute."""

    home: str  # a module, or the absolute path of a .py file
    attribute: str
    arguments: dict[str, Argument] = field(default_factory=dict)

    @property
    def is_file(self) -> bool:
        """Whether the code is a file, not a module."""
        return self.home.endswith(".py")

    @property
    def ref(self) -> str:
        """The reference, valid in any working directory if `home` is a file."""
        texts = {name: quote(str(value), safe="/:~+, ") for name, value in self.arguments.items()}
        query = "&".join(f"{name}={texts[name]}" for name in sorted(texts))
        return f"{self.home}:{self.attribute}" + (f"?{query}" if query else "")

    @property
    def name(self) -> str:
        """The reference without folders."""
        short = {
            name: Path(value).name if isinstance(value, str) else value
            for name, value in self.arguments.items()
        }
        return Code(Path(self.home).name, self.attribute, short).ref

    def network(self) -> nn.Module:
        """Returns the network; what its code prints goes to stderr.

        Raises BadValue for an unknown module, attribute or argument; FdbenchError, with the lines
        of the user's code, if that fails or returns anything but a network.
        """
        importable = _neighbours_of if self.is_file else _modules_here
        with importable(Path(self.home)):
            module = _imported(self)
            if not hasattr(module, self.attribute):
                made = [name for name, value in vars(module).items() if _makes(value, module)]
                raise unknown(f"function in {self.home}", self.attribute, made)
            return network_of(getattr(module, self.attribute), self.ref, self.arguments)


def parse_code(ref: str) -> Code | None:
    """Returns what a reference names; None if it is not of this form."""
    match = _FORM.fullmatch(ref)
    if not match:
        return None
    home, attribute, query = match["home"], match["attribute"], match["query"]
    if home.endswith(".py"):
        path = Path(home).expanduser().resolve()
        return Code(str(path), attribute, _arguments(query, ref, (Path.cwd(), path.parent)))
    return Code(home, attribute, _arguments(query, ref, (Path.cwd(),)))


def _arguments(query: str | None, ref: str, folders: tuple[Path, ...]) -> dict[str, Argument]:
    arguments: dict[str, Argument] = {}
    for part in query.split("&") if query else ():
        name, equals, text = part.partition("=")
        if not equals or not name.isidentifier() or name in arguments:
            raise BadValue(
                f"--model {ref}: {part!r} is not an argument.\n"
                "After ? come name=value pairs with & between them, each name once: "
                "?ckpt=best.pt&width=16"
            )
        arguments[name] = _value(unquote(text), folders)
    return arguments


def _value(text: str, folders: tuple[Path, ...]) -> Argument:
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    for number in (int, float):
        with suppress(ValueError):
            return number(text)
    places = [folder / Path(text).expanduser() for folder in folders] if text else []
    return next((str(place.resolve()) for place in places if place.exists()), text)


@contextmanager
def _neighbours_of(path: Path) -> Iterator[None]:
    """Lets the code in a file import the modules beside it."""
    folder = path.parent
    _forget_namesakes(folder, {one.stem for one in folder.iterdir()})
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        with suppress(ValueError):  # the code may have removed it
            sys.path.remove(str(folder))


@contextmanager
def _modules_here(module: Path) -> Iterator[None]:
    """Lets modules be imported from the working directory, from now on."""
    here, top = Path.cwd(), module.name.partition(".")[0]
    _forget_namesakes(here, {top} & {one.stem for one in here.iterdir()})
    if str(here) not in sys.path:
        sys.path.insert(0, str(here))
    yield


def _forget_namesakes(folder: Path, names: set[str]) -> None:
    """Forgets the user's modules of these names that come from other folders.

    Two folders may each have a utils.py, and each network must get its own.
    """
    names = names - {"__main__"}
    for name in [name for name in sys.modules if name.partition(".")[0] in names]:
        file = getattr(sys.modules[name], "__file__", None)
        if file and not is_installed(file) and not Path(file).is_relative_to(folder):
            del sys.modules[name]


def _imported(code: Code) -> ModuleType:
    if code.is_file:
        return _run_file(Path(code.home))
    try:
        with users_code(f"importing {code.home}"):
            return importlib.import_module(code.home)
    except FdbenchError as failed:
        reason = failed.__cause__
        lacks = reason.name if isinstance(reason, ModuleNotFoundError) else None
        if not lacks or not f"{code.home}.".startswith(f"{lacks}."):
            raise
        raise no_module(code.home, code.ref) from reason


def _run_file(path: Path) -> ModuleType:
    """Runs the file as a module whose name hides no other."""
    name = f"fdbench_model_{sha256(str(path).encode()).hexdigest()[:16]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    with users_code(f"running {path}"):
        spec.loader.exec_module(module)
    return module


def _makes(value: object, module: ModuleType) -> bool:
    """Returns whether a module's attribute may be a network's maker, written in that module."""
    own = getattr(value, "__module__", None) == module.__name__
    return isinstance(value, nn.Module) or (own and callable(value))


def network_of(maker: object, ref: str, arguments: dict[str, Argument] | None = None) -> nn.Module:
    """Returns the network that `maker` is, or returns when called with `arguments`.

    Raises BadValue for arguments that it does not take, FdbenchError if it fails or returns
    anything else.
    """
    arguments = arguments or {}
    if isinstance(maker, nn.Module):
        if arguments:
            raise BadValue(f"{ref}: a network takes no arguments, only a function or class does.")
        return maker
    if not callable(maker):
        raise FdbenchError(
            f"{ref} is {_described(maker)}, neither a torch.nn.Module nor a function that returns "
            "one."
        )
    _check_arguments(maker, ref, arguments)
    with users_code(ref):
        net = maker(**arguments)
    if not isinstance(net, nn.Module):
        raise FdbenchError(
            f"{ref} returned {_described(net)}, not a torch.nn.Module.\n{_advice(net)}"
        )
    return net


def _check_arguments(maker: Callable[..., Any], ref: str, arguments: dict[str, Argument]) -> None:
    try:
        signature = inspect.signature(maker)
    except ValueError:  # built in
        return
    try:
        signature.bind(**arguments)
    except TypeError as reason:
        name = maker.__name__ if hasattr(maker, "__name__") else type(maker).__name__
        needed = "&".join(f"{name}=VALUE" for name in required(signature))
        example = f"{ref.partition('?')[0]}?{needed}" if needed else ref.partition("?")[0]
        raise BadValue(
            f"{ref}: {reason}. It is {name}{signature}.\n"
            f"--model takes its arguments after a question mark: --model '{example}'"
        ) from reason


def required(signature: inspect.Signature) -> list[str]:
    """Returns the names of the parameters without a default."""
    stars = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = signature.parameters.values()
    return [p.name for p in parameters if p.default is p.empty and p.kind not in stars]


def _described(value: object) -> str:
    if isinstance(value, tuple | list):
        kinds = ", ".join(type(one).__name__ for one in value[:4])
        return f"a {type(value).__name__} of {len(value)} ({kinds}{', ...' * (len(value) > 4)})"
    if isinstance(value, dict):
        keys = ", ".join(map(repr, list(value)[:4]))
        return f"a {type(value).__name__} with the keys {keys}{', ...' * (len(value) > 4)}"
    return type(value).__name__


def _advice(value: object) -> str:
    if value is None:
        return "Does its last line say `return net`?"
    if isinstance(value, dict):
        return "If these are weights: net.load_state_dict(them), and return net."
    if isinstance(value, tuple | list):
        networks = [place for place, one in enumerate(value) if isinstance(one, nn.Module)]
        return f"Return the network alone: its entry {networks[0]}." if networks else ""
    return "Return the network itself: RGB images (B, 3, H, W) in [0, 1] -> logits (B, C)."
