"""The pictures of the docs: a conversation with the voice assistant, as its timeline shows it in a browser, a pipeline, three machines.

    python docs/examples/make_pictures.py

Needs what the assistant needs, the extra [pictures], the program chromium, and pillow. Writes into docs/images.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from pathlib import Path

import pygraphviz
import trio
from assistant._run import Models, converse, run_paced
from assistant._script import SCRIPT, record
from PIL import Image

from trio_pipes import (
    DataFrame,
    FrameProcessor,
    Frames,
    Out,
    ParallelPipeline,
    Pipeline,
    Switchable,
    TextFrame,
    each,
    processor,
    route,
)
from trio_pipes.observers import Timeline
from trio_pipes.voice import Espeak

IMAGES = Path(__file__).parent.parent / "images"
LINES = [line for line in SCRIPT if line.text.startswith(("turn on", "what time", "what can", "switch on"))]
LONG = 3  # the number of the answer that is long, and interrupted
WIDTH, HEIGHT = 1240, 1000
MACHINES = """digraph {
    graph [rankdir=LR, fontname="Helvetica", fontsize=11, fontcolor="#57606a", color="#afb8c1", bgcolor="white",
           style="rounded", labeljust=l, ranksep=0.5, nodesep=0.3, newrank=true]
    node [shape=box, fontname="Helvetica", fontsize=12, color="#57606a", fillcolor="#f6f8fa", style="filled", margin="0.16,0.08"]
    edge [fontname="Helvetica", fontsize=10, fontcolor="#57606a", color="#57606a", arrowsize=0.7]
    subgraph cluster_front { label="machine 1: front.py"
        hear [label="WavSource\\nVoiceActivity\\nSpeechToText\\nUserTurns"]
        bridge [label="BusBridge", fillcolor="#fff8c5"]
        speak [label="TextToSpeech\\nWavSink"]
        hear -> bridge -> speak
    }
    subgraph cluster_broker { label="anywhere"
        redis [label="Redis", shape=cylinder, fillcolor="#ffffff"]
    }
    subgraph cluster_dialogue { label="machine 2: dialogue.py"
        dialogue [label="Dialogue", fillcolor="#fff8c5"]
    }
    subgraph cluster_answers { label="machine 3: answers.py"
        answers [label="Answers\\n@job(\\"look up\\")"]
    }
    bridge -> redis [label="sentences", dir=both, constraint=true]
    redis -> dialogue [label="sentences, replies", dir=both]
    redis -> answers [label="jobs, updates, results", dir=both]
}"""
OPTIONS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--force-device-scale-factor=1.5",
]


def main() -> None:
    IMAGES.mkdir(exist_ok=True)
    (IMAGES / "pipeline.svg").write_text(trio.run(shapes().svg))
    (IMAGES / "three-machines.svg").write_bytes(pygraphviz.AGraph(string=MACHINES).draw(format="svg", prog="dot"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        page = hold_conversation(folder)
        (data,) = re.findall(r'id="data">(.*?)</script>', page.read_text(), re.DOTALL)
        long = json.loads(data)["answers"][LONG - 1]
        shoot(page, f"#answer={LONG}", folder, "timeline", 0.0, 0.89)
        cut_off = f"#view={long['from'] / 1e6 - 1.5},{long['to'] / 1e6 + 5.2}"
        shoot(page, cut_off, folder, "timeline-interrupt", 0.34, 0.842)


def shapes() -> Pipeline:
    """What the page on pictures shows."""
    parallel = ParallelPipeline([shout], [summary], name="both")
    by_class = route(type, {TextFrame: [FrameProcessor("words")], DataFrame: []}, name="route")
    return Pipeline([FrameProcessor("mic"), parallel, by_class, Switchable(FrameProcessor("voice"), name="slot")])


@each(name="shout")
def shout(frame: TextFrame) -> TextFrame:
    return TextFrame(frame.text.upper())


@processor(name="summary")
async def summary(frames: Frames[TextFrame], out: Out) -> None:
    words = [frame.text async for frame in frames]
    await out.push(TextFrame(f"{len(words)} words"))


def hold_conversation(folder: Path) -> Path:
    """Have it, and write the page."""
    timeline = Timeline()
    trio.run(record, folder / "said.wav", LINES, Espeak("en-us", words_per_minute=140))
    run_paced("fast", converse, folder / "said.wav", folder / "answered.wav", print, Models(), [timeline])
    trio.run(timeline.write_html, folder / "page.html")
    return folder / "page.html"


def shoot(page: Path, place: str, folder: Path, name: str, top: float, bottom: float) -> None:
    """What a browser shows of the page, in the colours that it has."""
    shot = folder / "shot.png"
    options = [
        *OPTIONS,
        f"--user-data-dir={folder / 'browser'}",
        f"--window-size={WIDTH},{HEIGHT}",
        f"--screenshot={shot}",
    ]
    subprocess.run(["chromium", *options, f"{page.as_uri()}{place}"], check=True, capture_output=True, timeout=60)
    with Image.open(shot) as picture:
        part = picture.crop((0, round(top * picture.height), picture.width, round(bottom * picture.height)))
        part.convert("RGB").quantize(200).save(IMAGES / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
