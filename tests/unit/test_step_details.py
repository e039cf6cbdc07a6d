"""What Temporal's UI shows of a saga: the steps, what they touch and where to see it; nothing in it is taken for Markdown."""

from __future__ import annotations

import pytest

from sagakit.errors import WrongSettings
from sagakit.links import Links
from sagakit.markdown import code, linked, shown
from sagakit.settings import load_settings
from sagakit.step_details import details
from sagakit.step_table import StepTable
from sagakit.steps import Step

TRACE = "0af7651916cd43dd8448eb211c80319c"
HEAD = "| # | step | touches | commands | kind | state | tries | since |\n|---|---|---|---|---|---|---|---|"


def _table(*steps: Step, waits: tuple[str, ...] = (), trace_id: str = "") -> StepTable:
    table = StepTable("order-fulfilment")
    table.steps, table.waits, table.trace_id = list(steps), list(waits), trace_id
    return table


def _place(command: str, aggregate_id: str) -> tuple[str, str] | None:
    return None if command == "unknown" else ("payments", f"payment-{aggregate_id}")


def _step(number: int = 1, **fields: object) -> Step:
    return Step(number, "pay", 1, "pivot", None, "done", 2, "2026-01-02 03:04:05", **fields)  # type: ignore[arg-type]


def test_without_links_what_could_be_linked_is_named_with_the_command_that_shows_it() -> None:
    shown = details(_table(_step(aggregates=("7",)), waits=("an answer: On? (on | off)",), trace_id=TRACE), Links(), _place)
    assert shown == (
        f"**order-fulfilment**: running\n\nTrace `{TRACE}`\n\nWaits for an answer: On? (on \\| off)\n\n{HEAD}\n"
        "| 1 | `pay` | `payment-7` | 1 | pivot | done | 2 | 2026-01-02 03:04:05 |\n\n"
        "To see a trace: `trace ID`, a stream: `events --stream STREAM`."
    )


def test_with_templates_the_trace_and_the_streams_are_links() -> None:
    links = Links("http://127.0.0.1:16686/trace/{trace_id}", "https://shop.example/{service}/log?of={stream}")
    shown = details(_table(_step(aggregates=("a/b c?x=(1)&{service}",)), trace_id=TRACE), links, _place)
    assert f"Trace [{TRACE}](http://127.0.0.1:16686/trace/{TRACE})\n" in shown
    assert "(https://shop.example/payments/log?of=payment-a%2Fb%20c%3Fx%3D%281%29%26%7Bservice%7D)" in shown
    assert "To see" not in shown


def test_a_trace_that_nobody_records_is_not_named() -> None:
    assert "Trace" not in details(_table(_step()), Links(), _place)


def test_a_batch_names_three_streams_and_counts_the_others_and_a_child_is_named_by_its_id() -> None:
    batch = Step(1, "pay", 40, "compensable", 2, aggregates=("1", "2", "2"))
    child = Step(2, "return", 1, "compensable", saga="order-return/7")
    unknown = Step(3, "unknown", 1, "read-only", aggregates=("7",))
    rows = details(_table(batch, child, unknown), Links(), _place).splitlines()[4:7]
    assert [row.split(" | ")[2] for row in rows] == ["`payment-1`, `payment-2` and 37 more", "`order-return/7`", ""]
    assert "compensable, side by side 2" in rows[0]


def test_the_newest_steps_are_shown_as_far_as_they_fit() -> None:
    steps = [_step(number, aggregates=("x" * 150,) * 3) for number in range(1, 5001)]
    shown = details(_table(*steps), Links(), _place)
    assert 19_000 < len(shown) < 20_200
    assert "| 5000 | `pay` |" in shown
    left_out = next(line for line in shown.splitlines() if "left out" in line)
    rows = [line for line in shown.splitlines() if line.endswith(" 2026-01-02 03:04:05 |")]
    assert left_out == f"{5000 - len(rows)} earlier steps are left out."


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("a | b", r"a \| b"),
        ("[x](javascript:alert(1))", r"\[x\](javascript:alert(1))"),
        ("<img src=x onerror=y>", r"\<img src=x onerror=y\>"),
        ("one\r\n\r\n# two\u2028three", r"one \# two three"),
        ("`c` **b** _i_ ~s~ &amp; !", r"\`c\` \*\*b\*\* \_i\_ \~s\~ \&amp; \!"),
        (r"\|", r"\\\|"),
        ("x" * 300, "x" * 199 + "…"),
    ],
)
def test_what_others_wrote_is_shown_as_it_is(text: str, safe: str) -> None:
    assert shown(text, 200) == safe
    state = _step()
    state.state = f"parked: {text}"
    table = details(_table(state), Links(), _place)
    assert len(table.split("\n\n")[1].splitlines()) == 3, "it stays one row"


def test_a_name_that_would_end_its_code_or_its_link_is_no_code_and_ends_none() -> None:
    assert code("order-7", 80) == "`order-7`"
    assert code("a`b|c", 80) == r"a\`b\|c"
    assert linked("a](x)", "http://h/a%5D", 80) == r"[a\](x)](http://h/a%5D)"


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"trace_url": "http://127.0.0.1/trace"}, r"SAGAKIT_TRACE_URL: expected an http or https URL with \{trace_id\} in it;"),
        ({"trace_url": "javascript:{trace_id}"}, "SAGAKIT_TRACE_URL: expected an http"),
        ({"trace_url": "http://h/{trace_id}/{other}"}, "SAGAKIT_TRACE_URL: expected an http"),
        ({"trace_url": "http://h/{trace_id})[x](http://i"}, "encode any other brace, space, quote or bracket"),
        ({"trace_url": "http://h:0/{trace_id}"}, "the port is no number from 1 to 65535"),
        ({"stream_url": "http://h/{service}"}, r"SAGAKIT_STREAM_URL: .*with \{stream\} in it, and \{service\} if wanted"),
        ({"deployment_name": "shop.{service}"}, "SAGAKIT_DEPLOYMENT_NAME: expected 1 to 200 letters"),
        ({"deployment_name": "__{service}"}, "SAGAKIT_DEPLOYMENT_NAME"),
        ({"deployment_name": "a" * 201}, "SAGAKIT_DEPLOYMENT_NAME"),
        ({"build_id": ""}, "SAGAKIT_BUILD_ID: expected 1 to 128 letters, digits"),
        ({"build_id": "1' or '1'='1"}, "SAGAKIT_BUILD_ID"),
    ],
)
def test_a_wrong_template_or_name_is_refused_at_start(fields: dict[str, str], problem: str) -> None:
    with pytest.raises(WrongSettings, match=problem):
        load_settings(**fields)


def test_right_ones_are_taken() -> None:
    taken = load_settings(
        trace_url="https://grafana.example:3000/explore?left=%7B%22query%22:%22{trace_id}%22%7D",
        stream_url="http://127.0.0.1:8080/{service}/{stream}",
        deployment_name="{service}-of-the_shop",
        build_id="v1.4.2+g3f5a",
    )
    assert taken.build_id == "v1.4.2+g3f5a"
