"""Promises: single things a plugin keeps to, each checked by itself, with its own message."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import Generic, Literal, TypeVar

from harness.errors import HarnessError
from harness.plugins.discovery import FAULTS
from harness.plugins.validation import describe
from harness.testing.watch import kept_generators, unseeded, watching

Case = TypeVar("Case")


class BrokenPromise(HarnessError, AssertionError):  # noqa: N818 - it says what was broken
    """A promise that a plugin broke: whose it is, what was seen, and the rule behind it.

    Attributes:
        promise: its name, as `harness plugins check` prints it.
        where: kind and name of what was checked.
        seen: what happened.
        rule: what should have happened.
        checked: False: it could not be told whether the promise is kept.
        see: the promise that is broken instead, where it could not; empty: none that is known.
    """

    exit_code = 1

    def __init__(
        self, promise: str, where: str, seen: str, rule: str, *, checked: bool = True, see: str = ""
    ) -> None:
        verdict = "breaks the promise" if checked else "could not be checked for the promise"
        super().__init__(f"{where} {verdict} {promise!r}: {seen}. The rule: {rule}.")
        self.promise, self.where, self.seen, self.rule = promise, where, seen, rule
        self.checked, self.see = checked, see


class Broken(Exception):  # noqa: N818 - a verdict on somebody else's code
    """Raised by a check: the promise is not kept; the message is what was seen."""


class Unchecked(Exception):  # noqa: N818 - the absence of a verdict
    """Raised by a check: it makes no sense before another promise, `see`, is kept."""

    def __init__(self, why: str, see: str = "") -> None:
        super().__init__(f"{why}, see {see!r}" if see else why)
        self.see = see


@dataclass(frozen=True)
class Rule(Generic[Case]):
    """A promise of a kind of plugin, whoever makes it.

    Attributes:
        name: kebab-case.
        text: the rule, a clause that can follow a colon.
        check: raises `Broken` or `Unchecked`; whatever else it raises is the plugin's doing.
        light: it computes next to nothing, however large the network or the dataset.
        needs: earlier rules of the table; where one of them is broken, this one is not checked.
    """

    name: str
    text: str
    check: Callable[[Case], None]
    light: bool = True
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Owner:
    """The maker of promises.

    Attributes:
        name: what it is called: `lp-ft`.
        where: what it is and, if that is known, whose: `strategy 'lp-ft' of plugin 'lp-ft' (...)`.
        module: where its class or function was defined.
    """

    name: str
    where: str
    module: str


@dataclass(frozen=True)
class Promise:
    """A promise of one owner, ready to be checked; as text it is a short id for pytest."""

    name: str
    rule: str
    owner: Owner
    attempt: Callable[[], None]

    def check(self) -> None:
        """Check it.

        Raises:
            BrokenPromise: it is broken, or cannot be checked because another one is.
        """
        __tracebackhide__ = True
        self.verdict().demand()

    def verdict(self) -> Verdict:
        """Check it and return the result; global random generators are left as they were."""
        try:
            with kept_generators():
                self.attempt()
        except Broken as broken:
            return Verdict(self, "broken", str(broken), broken.__cause__)
        except Unchecked as unchecked:
            return Verdict(
                self, "unchecked", str(unchecked), unchecked.__cause__, see=unchecked.see
            )
        except FAULTS as error:
            return Verdict(self, "broken", fault_line(error, self.owner.module), error)
        return Verdict(self, "ok")

    def __str__(self) -> str:
        return f"{self.owner.name}-{self.name}"


@dataclass(frozen=True)
class Verdict:
    """The result of a check; `seen` and `cause` are empty where the promise is kept.

    Attributes:
        see: the promise that is broken instead, where this one was not checked.
    """

    promise: Promise
    state: Literal["ok", "broken", "unchecked"]
    seen: str = ""
    cause: BaseException | None = None
    see: str = ""

    def demand(self) -> None:
        """Raise a BrokenPromise unless the promise is kept."""
        __tracebackhide__ = True
        if self.state != "ok":
            promise, checked = self.promise, self.state == "broken"
            raise BrokenPromise(
                promise.name, promise.owner.where, self.seen, promise.rule,
                checked=checked, see=self.see,
            ) from self.cause  # fmt: skip


def check_all(promises: Sequence[Promise]) -> None:
    """Check promises in turn; what could not be checked counts only if nothing is broken.

    Raises:
        BrokenPromise: the first one.
    """
    __tracebackhide__ = True
    unchecked = []
    for promise in promises:
        verdict = promise.verdict()
        if verdict.state == "unchecked":
            unchecked.append(verdict)
        else:
            verdict.demand()
    for verdict in unchecked:
        verdict.demand()


def promises_of(
    rules: Sequence[Rule[Case]], case: Case, owner: Owner, *, light: bool
) -> list[Promise]:
    """The promises of one case, in the order of the table."""
    made: dict[str, Promise] = {}
    verdicts: dict[str, Callable[[], Verdict]] = {}
    for rule in rules:
        first = [verdicts[name] for name in rule.needs]
        promise = Promise(rule.name, rule.text, owner, partial(_attempt, rule, case, first))
        made[rule.name], verdicts[rule.name] = promise, cache(promise.verdict)
    return [made[rule.name] for rule in rules if rule.light or not light]


def _attempt(rule: Rule[Case], case: Case, first: Sequence[Callable[[], Verdict]]) -> None:
    for verdict in (each() for each in first):
        if verdict.state != "ok":
            raise Unchecked("another promise comes first", verdict.see or verdict.promise.name)
    rule.check(case)


def fault_line(error: BaseException, module: str) -> str:
    """An exception in one line, without a full stop: one follows."""
    return " ".join(describe(error, module).split()).removesuffix(".")


def listed(names: Sequence[object], most: int = 3) -> str:
    """`'a', 'b', 'c' and 4 more`."""
    text = ", ".join(repr(name) for name in names[:most])
    return text if len(names) <= most else f"{text} and {len(names) - most} more"


@contextmanager
def opens_nothing(where: str = "", *, files: bool = False) -> Iterator[None]:
    """Let the block open no socket, start no program and, with `files`, open no file.

    Raises:
        Broken: it did; `where` ends the message.
    """
    with watching(files=files) as noticed:
        try:
            yield
        finally:
            if noticed:
                raise Broken(f"{noticed[0]}{where}")


@contextmanager
def draws_nothing(what: str) -> Iterator[None]:
    """Let the block leave the global random generators alone.

    Raises:
        Broken: `what` did not.
    """
    with unseeded() as moved:
        yield
        names = moved()
    if names:
        raise Broken(f"{what} draws from or seeds {' and '.join(names)}")
