"""Sagas over event-sourced services: what you derive from and list. Loads no database or broker driver."""

from sagakit.aggregate import Aggregate, applies, handles
from sagakit.errors import DomainError
from sagakit.messages import Command, Event, Identifier, RecordedEvent
from sagakit.personal import Personal
from sagakit.projection import Projection, projects, projects_batch
from sagakit.reactions import reaction
from sagakit.saga import Saga
from sagakit.schedules import schedule
from sagakit.service import ForeignService, Service
from sagakit.upcasting import upcasts

__version__ = "0.1.0"
__all__ = [
    "Aggregate",
    "Command",
    "DomainError",
    "Event",
    "ForeignService",
    "Identifier",
    "Personal",
    "Projection",
    "RecordedEvent",
    "Saga",
    "Service",
    "applies",
    "handles",
    "projects",
    "projects_batch",
    "reaction",
    "schedule",
    "upcasts",
]
