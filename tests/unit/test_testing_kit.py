"""The given/when/then kit finds what it is there to find."""

from __future__ import annotations

from itertools import count

import pytest

from sagakit import Aggregate, Command, DomainError, Event, applies, handles
from sagakit.testing import ImpureHandler, given

_ticks = count()


class Full(DomainError):
    code = "full"


class Fill(Command, name="fill_jug", id_field="jug"):
    jug: str
    litres: int


class Leak(Command, name="leak_jug", id_field="jug"):
    jug: str


class Stir(Command, name="stir_jug", id_field="jug"):
    jug: str


class Filled(Event, name="jug.filled", version=1):
    litres: int


class Jug(Aggregate, category="jug"):
    litres: int = 0

    @handles(Fill)
    def fill(self, command: Fill) -> Filled:
        if self.litres + command.litres > 5:
            raise Full("a jug holds 5 litres")
        return Filled(litres=command.litres)

    @handles(Leak)
    def leak(self, command: Leak) -> None:
        self.litres = 0

    @handles(Stir)
    def stir(self, command: Stir) -> Filled:
        return Filled(litres=next(_ticks))

    @applies(Filled)
    def filled(self, event: Filled) -> None:
        self.litres += event.litres


def test_events_and_refusals() -> None:
    jug = given(Jug, Filled(litres=2)).when(Fill(jug="a", litres=3)).then(Filled(litres=3))
    assert (jug.litres, jug.version) == (5, 2)
    assert given(Jug, Filled(litres=5)).when(Fill(jug="a", litres=1)).refused(Full, "full").code == "full"


def test_what_differs_fails() -> None:
    with pytest.raises(AssertionError, match=r"expected \[Filled\(litres=2\)\]"):
        given(Jug).when(Fill(jug="a", litres=1)).then(Filled(litres=2))
    with pytest.raises(AssertionError, match="was refused"):
        given(Jug).when(Fill(jug="a", litres=6)).then(Filled(litres=6))
    with pytest.raises(AssertionError, match="expected Full"):
        given(Jug).when(Fill(jug="a", litres=1)).refused(Full)
    with pytest.raises(AssertionError, match="expected Full empty"):
        given(Jug).when(Fill(jug="a", litres=6)).refused(Full, "empty")


def test_a_handler_that_changes_the_state_is_named() -> None:
    with pytest.raises(ImpureHandler, match="leak_jug changes the state"):
        given(Jug, Filled(litres=1)).when(Leak(jug="a"))


def test_a_handler_that_is_not_a_function_of_its_input_is_named() -> None:
    with pytest.raises(ImpureHandler, match="stir_jug answers the same question differently"):
        given(Jug).when(Stir(jug="a"))
