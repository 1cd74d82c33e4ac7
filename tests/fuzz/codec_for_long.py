"""Damages messages for as long as it is told, and keeps what led somewhere new: `python tests/fuzz/codec_for_long.py --minutes 60`.

What a message leads to is what the codec says of it; one that leads to something that was not said before is damaged further,
and kept in `corpus/codec/found.hex` with `--keep`. It ends with exit code 1 at the first error that is no `WireError`, after it
has put the message into the corpus; also where a message takes more than a second or 300 MB.
"""

from __future__ import annotations

import argparse
import random
import resource
import secrets
import sys
import time
import traceback
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]  # as pytest's own path

import codec_kit  # noqa: E402  (found by the line above)

MOST_BYTES = 300_000_000  # above what there was at the start
MOST_SECONDS = 1.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=None, help="of a run that is to be repeated")
    parser.add_argument("--keep", action="store_true", help="write what led somewhere new into the corpus")
    asked = parser.parse_args()
    seed = secrets.randbits(32) if asked.seed is None else asked.seed
    chance = random.Random(seed)
    print(f"seed {seed}, {asked.minutes:g} minutes", flush=True)

    known: dict[str, bytes] = {}
    pool = [*codec_kit.messages(), b""]
    for path in codec_kit.CORPUS_FILES:
        pool += codec_kit.read_corpus(path)
    for data in pool:
        known.setdefault(codec_kit.judge(data), data)
    before = set(known)

    limit = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 + MOST_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit + 2_000_000_000, resource.RLIM_INFINITY))
    began = told = time.monotonic()
    tries, slowest = 0, 0.0
    while time.monotonic() - began < asked.minutes * 60:
        data = chance.choice(pool)
        for _ in range(chance.choice([1, 1, 1, 2, 3, 5, 10])):
            data = chance.choice([codec_kit.damage, codec_kit.damage_values])(data, chance)[:70_000]
        tries += 1
        start = time.thread_time()
        try:
            word = codec_kit.judge(data)
        except BaseException:
            traceback.print_exc()
            return failed(f"after {tries:,} tries", data, seed)
        took = time.thread_time() - start
        slowest = max(slowest, took)
        if took > MOST_SECONDS:
            return failed(f"a message took {took:.1f} s", data, seed)
        if word not in known:
            known[word] = data
            pool.append(data)
        if time.monotonic() - told > 60:
            told = time.monotonic()
            print(f"{(told - began) / 60:.0f} min: {tries:,} tries, {len(known)} kinds of outcome", flush=True)
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(
        f"{tries:,} tries in {asked.minutes:g} minutes, {len(known)} kinds of outcome ({len(set(known) - before)} new), "
        f"the slowest took {slowest * 1000:.0f} ms, {used / 1e6:.0f} MB at most"
    )
    if used > limit:
        print("which is too much")
        return 1
    if asked.keep:
        keep({word: data for word, data in known.items() if word not in before})
    return 0


def failed(what: str, data: bytes, seed: int) -> int:
    """Keep the message where the tests will find it."""
    path = codec_kit.CORPUS / f"failed-{seed}.hex"
    path.write_text(f"{data.hex()}  # {what}\n")
    print(f"{what}: {path}")
    return 1


def keep(found: dict[str, bytes]) -> None:
    """Add to the corpus what is short enough to be read by somebody."""
    with (codec_kit.CORPUS / "found.hex").open("a") as file:
        for word, data in sorted(found.items()):
            if len(data) < 1000:
                file.write(f"{data.hex()}  # {word[:100]}\n")


if __name__ == "__main__":
    sys.exit(main())
