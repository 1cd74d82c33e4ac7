"""A pipeline as Mermaid's text: each shape, names that mean something in it, the same text each time."""

import re
from collections.abc import AsyncIterator

import attrs
import pytest

from trio_pipes import (
    ConfigurationError,
    Consumer,
    DataFrame,
    Frame,
    FrameProcessor,
    Frames,
    Out,
    ParallelPipeline,
    Pipeline,
    Producer,
    Switchable,
    SyncParallelPipeline,
    TextFrame,
    each,
    merge,
    processor,
    route,
    tee,
)


@attrs.define(eq=False)
class Number(DataFrame):
    value: int = 0


class Box(FrameProcessor):
    pass


@each(name="shout")
def shout(frame: TextFrame) -> TextFrame:
    return frame


@each(name="think")
async def think(frame: TextFrame | Number) -> Frame:
    return frame


@each(name="many", concurrency=4)
async def many(frame: TextFrame) -> Frame:
    return frame


@processor(name="transcribe")
async def transcribe(frames: Frames[Number], out: Out) -> None:
    async for frame in frames:
        await out.push(frame)


def drawn(*parts: object) -> list[str]:
    """The lines of a picture, without the first one and the indents."""
    return [line.strip() for line in Pipeline(parts).mermaid().splitlines()][1:]  # type: ignore[arg-type]


def test_kinds_of_processors() -> None:
    assert drawn(Box("a"), shout, think, many, transcribe, Box("b", inline=True)) == [
        'n0["a<br/>Box"]',
        'n1(["shout<br/>function of TextFrame"])',
        'n2(["think<br/>async function of TextFrame or Number"])',
        'n3(["many<br/>async function of TextFrame, 4 at once"])',
        'n4[["transcribe<br/>block of Number"]]',
        'n5["b<br/>Box"]',
        *(f"n{i} --> n{i + 1}" for i in range(5)),
        "classDef inline stroke-dasharray: 4 3",
        "class n1,n5 inline",
    ]


def test_a_default_name_says_the_class() -> None:
    (line,) = drawn(Box())
    assert re.fullmatch(r'n0\["Box#\d+"\]', line)


def test_nested_pipelines() -> None:
    assert drawn(Box("a"), Pipeline([Box("b"), Pipeline([Box("c")], name="deep")], name="in"), Box("d")) == [
        'n0["a<br/>Box"]',
        'subgraph g1["in"]',
        'n1["b<br/>Box"]',
        'subgraph g2["deep"]',
        'n2["c<br/>Box"]',
        "end",
        "end",
        'n3["d<br/>Box"]',
        "n0 --> n1",
        "n1 --> n2",
        "n2 --> n3",
    ]


def test_branches_side_by_side() -> None:
    shape = ParallelPipeline([Box("b"), Box("c")], Pipeline([Box("d")], name="named"), name="both")
    assert drawn(Box("a"), shape, Box("e")) == [
        'n0["a<br/>Box"]',
        'subgraph g1["both"]',
        'n1(("all"))',
        'n2["b<br/>Box"]',
        'n3["c<br/>Box"]',
        'subgraph g2["named"]',
        'n4["d<br/>Box"]',
        "end",
        'n5((" "))',
        "end",
        'n6["e<br/>Box"]',
        "n0 --> n1",
        "n1 --> n2",
        "n2 --> n3",
        "n1 --> n4",
        "n3 --> n5",
        "n4 --> n5",
        "n5 --> n6",
    ]


def test_branches_in_step() -> None:
    lines = drawn(SyncParallelPipeline([Box("a")], [Box("b")], name="step"))
    assert lines[:6] == [
        'subgraph g1["step"]', 'n0(("all"))', 'n1["a<br/>Box"]', 'n2["b<br/>Box"]', 'n3(("in step"))', "end"
    ]  # fmt: skip
    assert lines[6:] == ["n0 --> n1", "n0 --> n2", "n1 --> n3", "n2 --> n3"]


def test_what_tee_hands_out_does_not_come_back() -> None:
    assert drawn(tee([Box("a")], name="copy"), Box("b"))[-2:] == ["n0 --> n1", "n0 --> n2"]


def test_route_shows_its_key_and_values() -> None:
    def parity(frame: Number) -> int:
        return frame.value % 2

    assert drawn(route(parity, {0: [Box("even")], 1: []}, default=[Box("odd")], name="way")) == [
        'subgraph g1["way"]',
        'n0{"parity"}',
        'n1["even<br/>Box"]',
        'n2["odd<br/>Box"]',
        'n3((" "))',
        "end",
        'n0 -->|"0"| n1',
        'n0 -->|"default"| n2',
        "n1 --> n3",
        'n0 -->|"1"| n3',
        "n2 --> n3",
    ]


def test_route_by_class() -> None:
    lines = drawn(route(type, {TextFrame: [Box("a")], Number: [Box("b")]}))
    assert 'n0{"class"}' in lines
    assert 'n0 -->|"TextFrame"| n1' in lines


async def test_sources_of_a_merge_have_nothing_above() -> None:
    async def ticks() -> AsyncIterator[Frame]:
        yield Number()

    source = ticks()
    lines = drawn(Box("a"), merge([Box("b"), Box("c")], source, name="m"))
    assert lines[1:] == [
        'subgraph g1["m"]',
        'n1["b<br/>Box"]',
        'n2["c<br/>Box"]',
        'n3["m source 0<br/>async iterable"]',
        'n4(("merge"))',
        "end",
        "n1 --> n2",
        "n0 --> n4",
        "n2 --> n4",
        "n3 --> n4",
    ]
    await source.aclose()  # type: ignore[attr-defined]


async def test_a_slot_shows_what_is_in_it() -> None:
    lines = drawn(Box("a"), Switchable(Pipeline([Box("b"), Box("c")], name="now"), name="slot"), Box("d"))
    assert lines[1:4] == ['subgraph g1["slot"]', 'subgraph g2["now"]', 'n1["b<br/>Box"]']
    assert "style g1 stroke-dasharray: 8 4" in lines


def test_copies_go_by_a_way_of_their_own() -> None:
    ears = Producer(TextFrame, name="ears")
    lines = drawn(ears, ParallelPipeline([Box("a")], [Consumer(ears, name="log")]))
    assert 'n0["ears<br/>Producer"]' in lines
    assert 'n3["log<br/>Consumer"]' in lines
    assert lines[-1] == 'n0 -.->|"copies"| n3'


# A pipeline is also drawn before it is whole: whether the producer is in it, the run will tell.
def test_copies_of_what_is_not_here() -> None:
    assert drawn(Consumer(Producer(TextFrame), name="log")) == ['n0["log<br/>Consumer"]']


def test_a_shape_by_itself() -> None:
    assert ParallelPipeline([Box("a")], name="alone").mermaid().splitlines()[1] == '    subgraph g0["alone"]'


def test_the_same_picture_each_time_and_in_both_directions() -> None:
    pipeline = Pipeline([Box(), shout, ParallelPipeline([Box()], [shout])])
    assert pipeline.mermaid() == pipeline.mermaid()
    assert pipeline.mermaid(direction="LR").splitlines()[0] == "flowchart LR"
    assert pipeline.mermaid(direction="LR").splitlines()[1:] == pipeline.mermaid().splitlines()[1:]


@pytest.mark.parametrize("direction", ["RL", "down", None, 3])
def test_another_direction_is_refused(direction: object) -> None:
    with pytest.raises(ConfigurationError, match=rf"direction={direction!r}.*'TB', top to bottom"):
        Pipeline([Box()]).mermaid(direction=direction)  # type: ignore[arg-type]


# Each of these was shown as it is by Mermaid 11.17, in a browser; here only what is written is held.
HOSTILE = {
    '"]; click n0 href "x"': "#34;#93;#59; click n0 href #34;x#34;",
    "</script><script>alert(1)": "#60;/script#62;#60;script#62;alert(1)",
    "a#lt;b": "a#35;lt#59;b",
    "Bin#7": "Bin#7",
    "1. one": "1#46; one",
    "# one": "#35; one",
    "- one": "#45; one",
    "`code`": "#96;code#96;",
    "__init__": "#95;#95;init#95;#95;",
    "snake_case": "snake_case",
    "$$x$$": "#36;#8288;#36;#8288;x#36;#8288;#36;#8288;",
    "two\nlines": "two#92;#8288;nlines",
    "fa:fa-car": "fa#58;#8288;fa-car",
    "%%{init}%%": "#37;#37;#123;init#125;#37;#37;",
    "&lt;": "#38;lt#59;",
    "end": "end",
    "ünïcödé 😀": "ünïcödé #128512;",
}


@pytest.mark.parametrize(("name", "written"), HOSTILE.items())
def test_names_are_only_names(name: str, written: str) -> None:
    lines = Pipeline([Box(name), Pipeline([Box("x")], name=name)]).mermaid().splitlines()
    assert lines[1:3] == [f'    n0["{written}<br/>Box"]', f'    subgraph g1["{written}"]']
    routed = Pipeline([route(str, {name: [Box("x")]})]).mermaid().splitlines()
    assert f'    n0 -->|"{written}"| n1' in routed


def test_a_long_name_is_cut() -> None:
    (line,) = drawn(Box("x" * 500))
    assert len(line) < 120
    assert "…" in line
