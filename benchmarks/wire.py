"""A piece of sound as bytes and back, beside msgspec alone: the same fields, without tag, version, and a frame's `__init__`."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import attrs
import msgspec

from trio_pipes import Codec, OutputAudioFrame

SOUND = b"\x01\x02" * 320


@attrs.define(eq=False)
class Plain:
    audio: bytes
    sample_rate: int
    channels: int = 1
    interruptible: bool = True


def _each(a: argparse.Namespace, call: Callable[[Any], object], given: Any) -> dict[str, Any]:
    """Nanoseconds of the loop's thread for one call."""
    figures = []
    for _ in range(a.inner):
        began = time.thread_time_ns()
        for _ in range(a.frames):
            call(given)
        figures.append((time.thread_time_ns() - began) / a.frames)
    return {"value": statistics.median(figures), "unit": "ns", "all": figures}


async def encode(a: argparse.Namespace) -> dict[str, Any]:
    frame = OutputAudioFrame(SOUND, 16_000)
    codec = Codec()
    return _each(a, codec.encode, frame) | {"bytes": len(codec.encode(frame))}


async def decode(a: argparse.Namespace) -> dict[str, Any]:
    codec = Codec()
    return _each(a, codec.decode, codec.encode(OutputAudioFrame(SOUND, 16_000)))


async def plain_encode(a: argparse.Namespace) -> dict[str, Any]:
    plain = Plain(SOUND, 16_000)
    return _each(a, msgspec.msgpack.Encoder().encode, plain) | {"bytes": len(msgspec.msgpack.encode(plain))}


async def plain_decode(a: argparse.Namespace) -> dict[str, Any]:
    return _each(a, msgspec.msgpack.Decoder(Plain).decode, msgspec.msgpack.encode(Plain(SOUND, 16_000)))
