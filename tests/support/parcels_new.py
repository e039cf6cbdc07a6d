"""Parcels after three changes: a field renamed, a field added, an event split into two."""

from __future__ import annotations

from typing import Any

from sqlmodel import Field, SQLModel

from sagakit import Aggregate, Command, Event, Projection, Service, applies, handles, projects, upcasts
from sagakit.service import ServiceMap


class SendParcel(Command, name="send_parcel", id_field="parcel"):
    parcel: str
    recipient: str
    pounds: float
    express: bool = False


class DeliverParcel(Command, name="deliver_parcel", id_field="parcel"):
    parcel: str
    signed_by: str
    stars: int


class ParcelSent(Event, name="parcel.sent", version=3):
    recipient: str
    pounds: float
    express: bool


class ParcelDelivered(Event, name="parcel.delivered", version=2):
    signed_by: str


class ParcelRated(Event, name="parcel.rated", version=1):
    stars: int


@upcasts("parcel.sent", 1)
def to_is_called_recipient(fields: dict[str, Any]) -> dict[str, Any]:
    return {"recipient": fields["to"], "pounds": fields["pounds"]}


@upcasts("parcel.sent", 2)
def nothing_was_express(fields: dict[str, Any]) -> dict[str, Any]:
    return fields | {"express": False}


@upcasts("parcel.delivered", 1, into=[("parcel.delivered", 2), ("parcel.rated", 1)])
def rating_is_an_event_of_its_own(fields: dict[str, Any]) -> list[tuple[str, int, dict[str, Any]]]:
    return [("parcel.delivered", 2, {"signed_by": fields["signed_by"]}), ("parcel.rated", 1, {"stars": fields["stars"]})]


class Parcel(Aggregate, category="parcel"):
    recipient: str = ""
    pounds: float = 0
    express: bool = True
    signed_by: str = ""
    stars: int = 0

    @handles(SendParcel)
    def send(self, command: SendParcel) -> Event:
        return ParcelSent(recipient=command.recipient, pounds=command.pounds, express=command.express)

    @handles(DeliverParcel)
    def deliver(self, command: DeliverParcel) -> list[Event]:
        return [ParcelDelivered(signed_by=command.signed_by), ParcelRated(stars=command.stars)]

    @applies(ParcelSent)
    def _sent(self, event: ParcelSent) -> None:
        self.recipient, self.pounds, self.express = event.recipient, event.pounds, event.express

    @applies(ParcelDelivered)
    def _delivered(self, event: ParcelDelivered) -> None:
        self.signed_by = event.signed_by

    @applies(ParcelRated)
    def _rated(self, event: ParcelRated) -> None:
        self.stars = event.stars


class NewParcelRow(SQLModel, table=True):
    __tablename__ = "parcels_new"
    parcel: str = Field(primary_key=True)
    recipient: str
    stars: int = 0
    is_delivered: bool = False


class NewParcels(Projection, name="parcels_new", table=NewParcelRow):
    @projects(ParcelSent)
    async def _sent(self, session: Any, event: ParcelSent, recorded: Any) -> None:
        session.add(NewParcelRow(parcel=recorded.aggregate_id, recipient=event.recipient))

    @projects(ParcelDelivered)
    async def _delivered(self, session: Any, event: ParcelDelivered, recorded: Any) -> None:
        row = await session.get_one(NewParcelRow, recorded.aggregate_id)
        row.is_delivered = True

    @projects(ParcelRated)
    async def _rated(self, session: Any, event: ParcelRated, recorded: Any) -> None:
        row = await session.get_one(NewParcelRow, recorded.aggregate_id)
        row.stars = event.stars


UPCASTERS = (to_is_called_recipient, nothing_was_express, rating_is_an_event_of_its_own)
NEW = ServiceMap([Service("parcels", aggregates=(Parcel,), projections=(NewParcels,), upcasters=UPCASTERS)])
