"""Parcels as the first release knew them: what wrote `tests/fixtures/first_release.db`."""

from __future__ import annotations

from typing import Any

from sqlmodel import Field, SQLModel

from sagakit import Aggregate, Command, Event, Projection, Service, applies, handles, projects
from sagakit.service import ServiceMap


class SendParcel(Command, name="send_parcel", id_field="parcel"):
    parcel: str
    to: str
    pounds: float


class DeliverParcel(Command, name="deliver_parcel", id_field="parcel"):
    parcel: str
    signed_by: str
    stars: int


class ParcelSent(Event, name="parcel.sent", version=1):
    to: str
    pounds: float


class ParcelDelivered(Event, name="parcel.delivered", version=1):
    signed_by: str
    stars: int


class Parcel(Aggregate, category="parcel"):
    to: str = ""
    pounds: float = 0
    signed_by: str = ""
    stars: int = 0

    @handles(SendParcel)
    def send(self, command: SendParcel) -> Event:
        return ParcelSent(to=command.to, pounds=command.pounds)

    @handles(DeliverParcel)
    def deliver(self, command: DeliverParcel) -> Event:
        return ParcelDelivered(signed_by=command.signed_by, stars=command.stars)

    @applies(ParcelSent)
    def _sent(self, event: ParcelSent) -> None:
        self.to, self.pounds = event.to, event.pounds

    @applies(ParcelDelivered)
    def _delivered(self, event: ParcelDelivered) -> None:
        self.signed_by, self.stars = event.signed_by, event.stars


class OldParcelRow(SQLModel, table=True):
    __tablename__ = "parcels_old"
    parcel: str = Field(primary_key=True)
    to: str
    stars: int = 0


class OldParcels(Projection, name="parcels_old", table=OldParcelRow):
    @projects(ParcelSent)
    async def _sent(self, session: Any, event: ParcelSent, recorded: Any) -> None:
        session.add(OldParcelRow(parcel=recorded.aggregate_id, to=event.to))

    @projects(ParcelDelivered)
    async def _delivered(self, session: Any, event: ParcelDelivered, recorded: Any) -> None:
        row = await session.get_one(OldParcelRow, recorded.aggregate_id)
        row.stars = event.stars


OLD = ServiceMap([Service("parcels", aggregates=(Parcel,), projections=(OldParcels,))])
