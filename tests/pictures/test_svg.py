"""A pipeline as SVG, laid out by Graphviz in a child process."""

import sys
import xml.etree.ElementTree as ET

import pytest
import trio

from trio_pipes import FrameProcessor, MissingExtra, ParallelPipeline, Pipeline, Switchable, TextFrame, each, route

SVG = "{http://www.w3.org/2000/svg}"


class Box(FrameProcessor):
    pass


@each(name="shout")
def shout(frame: TextFrame) -> TextFrame:
    return frame


def texts(svg: str) -> list[str]:
    return ["".join(it.itertext()) for it in ET.fromstring(svg).iter(f"{SVG}text")]


async def test_every_shape_is_drawn() -> None:
    pipeline = Pipeline(
        [
            Box("top"),
            shout,
            ParallelPipeline([Box("left")], [Box("right")], name="both"),
            route(type, {TextFrame: [Box("words")]}, default=[]),
            Switchable(Pipeline([Box("inside")], name="content"), name="slot"),
        ]
    )
    svg = await pipeline.svg()
    assert svg.startswith("<svg ")
    assert {"top", "shout", "function of TextFrame", "left", "right", "both", "words", "slot", "content"} <= set(
        texts(svg)
    )
    assert "<title>" not in svg
    arrows = [it for it in ET.fromstring(svg).iter(f"{SVG}g") if it.get("class") == "edge"]
    assert len(arrows) == 11


async def test_names_are_only_names() -> None:
    names = [
        '"];x',
        "</svg><script>alert(1)</script>",
        "a&lt;b",
        "back\\slash\\n",
        "two\nlines",
        "{<f>|}",
        "\ud800",
        "ü😀",
    ]
    svg = await Pipeline([Box(name) for name in names]).svg()
    shown = [it.replace("\xa0", " ") for it in texts(svg)]
    assert shown[::2] == [*names[:4], "two\\nlines", names[5], "\\ud800", names[7]]
    assert "<script" not in svg


async def test_across_is_wide_and_down_is_tall() -> None:
    def sides(svg: str) -> list[float]:
        return [float(side) for side in ET.fromstring(svg).attrib["viewBox"].split()[2:]]

    pipeline = Pipeline([Box("a"), Box("b"), Box("c"), Box("d")])
    width, height = sides(await pipeline.svg())
    assert height > width
    width, height = sides(await pipeline.svg(direction="LR"))
    assert width > height


def test_from_outside_trio() -> None:
    assert trio.run(Pipeline([Box("a")]).svg).startswith("<svg")


async def test_the_loop_goes_on_meanwhile() -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await trio.sleep(0.001)
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        await Pipeline([Box("a")]).svg()
        nursery.cancel_scope.cancel()
    assert turns > 3


async def test_a_cancel_ends_it() -> None:
    with trio.move_on_after(0.01) as scope:
        await Pipeline([Box(str(i)) for i in range(300)]).svg()
    assert scope.cancelled_caught


async def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pygraphviz", None)
    with pytest.raises(MissingExtra, match=r"pip install 'trio-pipes\[pictures\]'"):
        await Pipeline([Box("a")]).svg()


# What Graphviz refuses is told with its words: here it is not there for the child, which is a Python of its own.
async def test_a_failure_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    (tmp_path / "pygraphviz.py").write_text("raise ImportError('libgvc is broken')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(RuntimeError, match=r"could not draw the pipeline \(exit code 1\)[\s\S]*libgvc is broken"):
        await Pipeline([Box("a")]).svg()
