"""`query`: reads a read model with conditions."""

from __future__ import annotations

from typing import Annotated, Any, get_args

import typer
from pydantic import TypeAdapter, ValidationError
from sqlalchemy import ColumnElement
from sqlalchemy.exc import DBAPIError
from sqlmodel import SQLModel, col, select
from typer.core import TyperCommand

from sagakit.cli.messages import AsJson
from sagakit.cli.output import fail, print_json, print_table, runs
from sagakit.cli.session import open_system, session_of
from sagakit.errors import InvalidInput

_OPERATORS = ("eq", "ne", "gt", "ge", "lt", "le", "like")
_JOINT = "\x1f"


class QueryCommand(TyperCommand):
    """Lets ``--where`` take three words at a time, as often as wanted: typer knows one or the other, not both."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Join the three words behind each ``--where`` into one."""
        joined: list[str] = []
        rest = list(args)
        while rest:
            word = rest.pop(0)
            joined.append(word)
            if word == "--where":
                condition, rest = rest[:3], rest[3:]
                if len(condition) < 3:  # noqa: PLR2004 column, operator, value
                    fail(InvalidInput(f"--where needs COLUMN OP VALUE, not {' '.join(condition) or 'nothing'}"))
                joined.append(_JOINT.join(condition))
        return super().parse_args(ctx, joined)


@runs
async def query(
    context: typer.Context,
    read_model: Annotated[str, typer.Argument(help="The read model's name, like order_summary.")],
    where: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN OP VALUE", help=f"OP is one of {', '.join(_OPERATORS)}; repeat it for and."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Query a read model."""
    session = session_of(context)
    service, projection = session.services.projection(read_model)
    table = projection.table
    statement = select(table)
    for condition in where or []:
        statement = statement.where(_condition(read_model, table, condition))
    async with open_system(session) as system:
        opened = await system.open(service.name)
        async with opened.tables.transaction() as database:
            try:
                rows = [row.model_dump(mode="json") for row in (await database.exec(statement)).all()]
            except (DBAPIError, OverflowError) as error:
                if isinstance(error, DBAPIError) and error.connection_invalidated:
                    raise
                conditions = " and ".join(condition.replace(_JOINT, " ") for condition in where or [])
                raise InvalidInput(f"--where {conditions}: the database cannot compare with such a value") from error
    if as_json:
        print_json(rows)
    else:
        columns = list(table.model_fields)
        print_table(f"{read_model}: {len(rows)} rows", columns, [[row[column] for column in columns] for row in rows])


def _condition(read_model: str, table: type[SQLModel], condition: str) -> ColumnElement[bool]:
    """Read one ``--where``. Raises `InvalidInput`, naming it."""
    words = condition.split(_JOINT)
    if len(words) != 3:  # noqa: PLR2004 column, operator, value
        raise InvalidInput(f"--where needs COLUMN OP VALUE as three words, not {condition!r}")
    column, operator, value = words
    if column not in table.model_fields:
        raise InvalidInput(f"{read_model} has no column {column!r}; it has {', '.join(table.model_fields)}")
    if operator not in _OPERATORS:
        raise InvalidInput(f"{operator!r} is no operator; known: {', '.join(_OPERATORS)}")
    attribute = col(getattr(table, column))
    annotation = table.model_fields[column].annotation
    if operator == "like":
        if str not in (annotation, *get_args(annotation)):
            raise InvalidInput(f"--where {column} like {value}: like is for text, and {column} holds none")
        return attribute.like(value)
    try:
        wanted = TypeAdapter[Any](annotation or str).validate_python(value)
    except ValidationError as error:
        raise InvalidInput(f"--where {column} {operator} {value}: {error.errors()[0]['msg']}") from None
    compared: ColumnElement[bool] = getattr(attribute, f"__{operator}__")(wanted)
    return compared
