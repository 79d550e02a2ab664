"""Registries of attacks, losses, data sets, by name; built in or from other packages.

A built-in entry is a lambda over a lazily imported package, so type checkers follow it and nothing
is imported before it is used. Other packages add entries through a registry's entry point group.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from fdbench.errors import FdbenchError, unknown

T = TypeVar("T")


@cache
def _offered(group: str) -> tuple[EntryPoint, ...]:
    """Entry points of installed packages, by name; scanned once a process."""
    return tuple(sorted(entry_points(group=group), key=lambda entry: entry.name))


@dataclass(frozen=True)
class Registry(Generic[T]):
    """Objects of one kind by name, imported when they are used.

    Attributes:
        kind: what one entry is called in messages, such as "loss".
        group: entry point group through which other packages add entries.
        built_in: a function without arguments for each name, which imports and returns the object.
        fits: whether an object from another package is a valid entry.
        wanted: what `fits` accepts, in words.
        hint: what an error about an unknown name adds.
    """

    kind: str
    group: str
    built_in: Mapping[str, Callable[[], T]]
    fits: Callable[[object], bool]
    wanted: str
    hint: str = ""

    def _entries(self) -> dict[str, EntryPoint]:
        """Entries from other packages. Raises FdbenchError if a name is defined twice."""
        entries: dict[str, EntryPoint] = {}
        for entry in _offered(self.group):
            other = entries.setdefault(entry.name, entry)
            if other.value != entry.value:
                raise FdbenchError(
                    f"two installed packages offer the {self.kind} {entry.name!r}: {other.value} "
                    f"and {entry.value}.\nUninstall one of them."
                )
            if entry.name in self.built_in:
                raise FdbenchError(
                    f"{entry.value} claims the name of fdbench's own {self.kind} {entry.name!r}.\n"
                    "Uninstall that package, or ask its authors for another name."
                )
        return entries

    @property
    def names(self) -> tuple[str, ...]:
        """All names, built-in ones first; imports none of the objects.

        Raises FdbenchError if a name is defined twice.
        """
        return (*self.built_in, *self._entries())

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __getitem__(self, name: str) -> T:
        """The object of that name.

        Raises BadValue for an unknown name, and FdbenchError for an entry of another package that
        can't be imported or does not fit.
        """
        self.check(name)
        if name in self.built_in:
            return self.built_in[name]()
        return self._load(self._entries()[name])

    def get(self, name: str) -> T | None:
        """The object of that name, None if there is none."""
        if name not in self:
            return None
        return self[name]

    def check(self, name: str) -> str:
        """Returns `name` if it is known; else raises BadValue, proposing the nearest name."""
        if name not in self.names:
            raise unknown(self.kind, name, self.names, self.hint)
        return name

    def _load(self, entry: EntryPoint) -> T:
        try:
            loaded: T = entry.load()
        except (ImportError, AttributeError) as reason:
            raise FdbenchError(
                f"the {self.kind} {entry.name!r} can't be imported from {entry.value}: {reason}"
            ) from reason
        if not self.fits(loaded):
            raise FdbenchError(
                f"the {self.kind} {entry.name!r} ({entry.value}) is {loaded!r}, not {self.wanted}."
            )
        return loaded
