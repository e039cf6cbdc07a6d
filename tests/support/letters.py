"""Two services with a planted bug: a letter that is sent back to whom it came from makes its handler fail."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel

from sagakit import Aggregate, Command, DomainError, Event, Personal, Service, applies, handles


class Address(BaseModel):
    town: str
    street: Annotated[str, Personal()] = ""


class PostLetter(Command, name="post_letter", id_field="letter"):
    letter: str
    sender: Annotated[str, Personal()]
    grams: int
    address: Address = Address(town="Ely")


class ReturnLetter(Command, name="return_letter", id_field="letter"):
    letter: str
    to: Annotated[str, Personal()]


class StampLetter(Command, name="stamp_letter", id_field="stamp"):
    stamp: str
    pence: int


class LetterPosted(Event, name="letter.posted", version=1):
    sender: Annotated[str, Personal()]
    grams: int
    address: Address


class LetterReturned(Event, name="letter.returned", version=1):
    to: Annotated[str, Personal()]


class LetterStamped(Event, name="letter.stamped", version=1):
    pence: int


class NotPosted(DomainError):
    pass


class Letter(Aggregate, category="letter"):
    sender: str = ""
    grams: int = 0
    returned_to: tuple[str, ...] = ()

    @handles(PostLetter)
    def post(self, command: PostLetter) -> Event:
        return LetterPosted(sender=command.sender, grams=command.grams, address=command.address)

    @handles(ReturnLetter)
    def send_back(self, command: ReturnLetter) -> Event:
        if not self.exists:
            raise NotPosted("it was never posted")
        if command.to == self.sender:
            raise KeyError(f"{self.sender} has no desk for {self.grams} g")
        return LetterReturned(to=command.to)

    @applies(LetterPosted)
    def _posted(self, event: LetterPosted) -> None:
        self.sender, self.grams = event.sender, event.grams

    @applies(LetterReturned)
    def _returned(self, event: LetterReturned) -> None:
        if event.to == "the dog":
            raise RuntimeError("a dog has no desk")
        self.returned_to = (*self.returned_to, event.to)


class Stamp(Aggregate, category="stamp"):
    pence: int = 0

    @handles(StampLetter)
    def stamp(self, command: StampLetter) -> Event:
        return LetterStamped(pence=command.pence)

    @applies(LetterStamped)
    def _stamped(self, event: LetterStamped) -> None:
        self.pence += event.pence


SERVICES = (Service("letters", aggregates=(Letter,)), Service("stamps", aggregates=(Stamp,)))
