"""The child process that recognises speech with pocketsphinx; `_child.py` has its protocol.

# How it tells what it knows from what it does not.
#
# A recogniser with a small vocabulary fits every sound to its own words. So it is given two more things to fit sound to,
# each at a price. The commonest 500 words of English stand in its language model as single words that follow nothing:
# what somebody says about something else comes out with some of them in it, and is no sentence. And its dictionary has each single
# phone as a filler, a "word" without meaning that the decoder may put anywhere: speech that no words explain well ends up
# there. The share of the speech that words account for is the confidence. Whether the words make one of the sentences is
# for the caller. (The common words alone do nothing against "ferry", nor the fillers against a person who says "ten of
# clubs" to an assistant that knows "turn off the lights".)
#
# How it copes with a microphone it has not heard.
#
# Cepstra are taken relative to a mean that follows the microphone slowly, from one sentence to the next. Until it fits,
# fillers explain even good speech. So when in doubt the sentence is heard again, as a whole and relative to its own
# mean, and the microphone counts as known from then on.
#
# Digital silence has no likelihood that any of its models would know, so a little noise is added, always the same.
"""

import json
import os
import random
import re
import struct
import sys
import tempfile
from array import array
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

from pocketsphinx import Decoder, get_model_path
from pocketsphinx.lm import ArpaBoLM

SAMPLE_RATE = 16_000
BLOCK = SAMPLE_RATE // 10  # samples given to the decoder at once

# The phones of the American English model, and what its own dictionary of noises has.
PHONES = "AA AE AH AO AW AY B CH D DH EH ER EY F G HH IH IY JH K L M N NG OW OY P R S SH T TH UH UW V W Y Z ZH"
NOISES = ("<s> SIL", "</s> SIL", "<sil> SIL", "[NOISE] +NSN+", "[SPEECH] +SPN+")
SILENCES = ("<s>", "</s>", "<sil>", "(NULL)")

# What a filler costs, as a probability. At 1e-14 fillers take over words of synthetic voices, at 1e-28 they miss a third
# of the sentences made of other words; measured with four voices, 120 sentences of ours and 200 of others.
FILLER = 1e-20

COMMON_WORDS = Path(__file__).with_name("_common_words.txt")

# What the common words have of the probability of single words, all together. With 1,000 words instead of 500, or a ten
# times larger share, synthetic voices are understood less often; without any, one in 13 recordings of people who speak
# of something else becomes a sentence of a home assistant.
COMMON = 0.15

# How much probability the language model keeps for sequences of words that no sentence has. The library's default of
# 0.5 is made for text; with it twice as many words are wrong as with 0.1.
UNSEEN = 0.1

# Below this confidence a sentence is heard again.
DOUBT = 0.95

# The cepstral mean of ordinary speech at ordinary levels, for the first sentence: between what recordings of people and
# synthetic voices have. The library's own default, 40, is that of a quiet microphone.
FIRST_MEAN = "50,-2,-2,3,-5,1,-2,-4,-3,-1,-1,-1,-1"


class Unfit(Exception):
    """The caller gave something that cannot work."""


class Recogniser:
    """Decoders with a language model made of sentences."""

    def __init__(self, sentences: list[str], pronunciations: dict[str, str], dither: float, seed: int) -> None:
        words = {word for sentence in sentences for word in sentence.split()}
        common = set(COMMON_WORDS.read_text(encoding="utf-8").splitlines()[2:]) - words
        with tempfile.TemporaryDirectory() as folder:
            files = {name: f"{folder}/{name}" for name in ("dict", "fdict", "lm")}
            write_lines(files["dict"], pronounce(words | common, pronunciations))
            write_lines(files["fdict"], [*NOISES, *(f"++{phone}++ {phone}" for phone in PHONES.split())])
            model = ArpaBoLM(text="\n".join(sentences), add_start=True, discount_mass=UNSEEN)
            each = COMMON * sum(model.grams_1.values()) / len(common)
            model.grams_1.update(dict.fromkeys(sorted(common), each))
            model.compute()
            model.write_file(files["lm"])
            settings: dict[str, Any] = {"samprate": SAMPLE_RATE, "fillprob": FILLER, "loglevel": "FATAL", **files}
            self.live = Decoder(cmn="live", cmninit=FIRST_MEAN, **settings)
            self.whole = Decoder(cmn="batch", **settings)
        generator = random.Random(seed)
        second = [round(generator.gauss(0, dither * 32768)) for _ in range(SAMPLE_RATE)] if dither else []
        self.noise = second + second[:BLOCK]  # so that a block may begin at any place of the second
        self.heard = bytearray()

    def start(self) -> None:
        self.heard.clear()
        self.live.start_utt()

    def hear(self, audio: bytes) -> None:
        for start in range(0, len(audio), 2 * BLOCK):
            block = self.dithered(audio[start : start + 2 * BLOCK])
            self.heard += block
            self.live.process_raw(block, False, False)

    def finish(self) -> tuple[str, float]:
        """The words and the confidence."""
        self.live.end_utt()
        text, confidence = result_of(self.live)
        if confidence >= DOUBT or not self.heard:
            return text, confidence
        self.whole.start_utt()
        self.whole.process_raw(bytes(self.heard), False, True)
        self.whole.end_utt()
        self.live.set_cmn(self.whole.get_cmn(False))
        second = result_of(self.whole)
        return second if second[1] >= confidence else (text, confidence)

    def dithered(self, audio: bytes) -> bytes:
        """With noise: the same noise at the same place of every sentence."""
        if not self.noise:
            return audio
        samples = array("h", audio)
        place = len(self.heard) // 2 % SAMPLE_RATE
        noise = self.noise[place : place + len(samples)]
        return array("h", [max(-32768, min(32767, a + b)) for a, b in zip(samples, noise, strict=True)]).tobytes()


def result_of(decoder: Any) -> tuple[str, float]:
    """The words, and the share of the speech that they account for."""
    hypothesis = decoder.hyp()
    spoken = words = 0
    for segment in decoder.seg() or ():
        if segment.word not in SILENCES:
            frames = segment.end_frame - segment.start_frame + 1
            spoken += frames
            words += 0 if segment.word.startswith(("++", "[")) else frames
    return (hypothesis.hypstr, words / spoken) if hypothesis and hypothesis.hypstr else ("", 0.0)


def pronounce(words: set[str], given: dict[str, str]) -> list[str]:
    """The lines of the big dictionary for these words. Loading all of its 135,000 would take seconds."""
    lines = [f"{word} {phones}" for word, phones in given.items()]
    missing = words - given.keys()
    found = set()
    with Path(get_model_path("en-us"), "cmudict-en-us.dict").open(encoding="utf-8") as dictionary:
        for line in dictionary:
            word = re.sub(r"\(\d+\)$", "", line.split(maxsplit=1)[0])
            if word in missing:
                found.add(word)
                lines.append(line.rstrip("\n"))
    if unknown := sorted(missing - found):
        raise Unfit(
            f"the dictionary does not have: {', '.join(map(repr, unknown))}. Expected words of American English in lower "
            "case; give the others as pronunciations={'word': 'W ER D'}"
        )
    return lines


def write_lines(path: str, lines: Iterable[str]) -> None:
    Path(path).write_text("\n".join(lines) + "\n", encoding="utf-8")


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer until standard input ends."""
    recogniser: Recogniser | None = None
    while len(header := requests.read(5)) == 5:
        request, length = struct.unpack("<cI", header)
        payload = requests.read(length)
        answer: dict[str, Any] = {}
        if request == b"M":
            try:
                recogniser = Recogniser(**json.loads(payload))
            except Unfit as exc:
                answer["error"] = str(exc)
        else:
            assert recogniser is not None, "the first request makes the model"
            match request:
                case b"S":
                    recogniser.start()
                case b"A":
                    recogniser.hear(payload)
                case b"E":
                    answer["text"], answer["confidence"] = recogniser.finish()
        data = json.dumps(answer).encode()
        answers.write(struct.pack("<I", len(data)) + data)
        answers.flush()


if __name__ == "__main__":
    # What a library prints must not get among the answers.
    with os.fdopen(os.dup(1), "wb") as private:
        os.dup2(2, 1)
        serve(sys.stdin.buffer, private)
