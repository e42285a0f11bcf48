"""What the synthetic corpus consists of: voices, emotions, sentences. Every number here is a choice of ours."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["EMOTIONS", "SENTENCES", "VOICES", "Emotion", "Voice"]


@dataclass(frozen=True)
class Voice:
    """A speaker: a voice of espeak-ng with its neutral prosody.

    Attributes:
        speaker: Name in the corpus; the first letter says female or male.
        name: Accent and variant, as espeak-ng names them.
        rate: Words per minute.
        pitch: 0 to 99, relative to the voice.
        pitch_range: 0 to 99.
    """

    speaker: str
    name: str
    rate: float
    pitch: float
    pitch_range: float


@dataclass(frozen=True)
class Emotion:
    """A way of speaking, relative to the speaker's neutral one.

    Attributes:
        label: Name in the corpus.
        rate: Factor.
        pitch: Added.
        pitch_range: Factor.
        volume: Factor.
    """

    label: str
    rate: float
    pitch: float
    pitch_range: float
    volume: float


# Voices that do not saturate and do not sound like another one here.
VOICES = (
    Voice("f01", "en-us+f1", 168, 46, 50),
    Voice("m01", "en-us+m3", 160, 50, 45),
    Voice("f02", "en-gb-x-rp+f2", 175, 50, 52),
    Voice("m02", "en-gb-x-rp+m7", 170, 44, 50),
    Voice("f03", "en-us+Annie", 162, 42, 44),
    Voice("m03", "en-us+m1", 176, 56, 52),
    Voice("f04", "en+f5", 165, 54, 46),
    Voice("m04", "en+Nguyen", 166, 48, 44),
    Voice("f05", "en-us-nyc+f4", 172, 40, 48),
    Voice("m05", "en-us-nyc+m5", 164, 54, 54),
    Voice("f06", "en-us+steph", 158, 58, 50),
    Voice("m06", "en-us+Michael", 172, 40, 46),
    Voice("f07", "en-gb-x-rp+Alicia", 178, 44, 42),
    Voice("m07", "en-gb-x-gbclan+m8", 174, 52, 50),
    Voice("f08", "en+grandma", 160, 48, 50),
    Voice("m08", "en-us+boris", 168, 46, 48),
    Voice("f09", "en-us+shelby", 170, 52, 46),
    Voice("m09", "en+Mario", 162, 58, 50),
    Voice("f10", "en-gb-x-gbclan+f3", 166, 46, 54),
    Voice("m10", "en-us+david", 176, 50, 46),
)

EMOTIONS = (
    Emotion("angry", rate=1.25, pitch=10.0, pitch_range=1.15, volume=1.70),
    Emotion("happy", rate=1.06, pitch=34.0, pitch_range=1.80, volume=1.15),
    Emotion("neutral", rate=1.0, pitch=0.0, pitch_range=1.0, volume=1.0),
    Emotion("sad", rate=0.80, pitch=-16.0, pitch_range=0.40, volume=0.62),
)

# Everyday statements without emotional words, seven to nine words long, which together hold every phoneme.
SENTENCES = (
    "The boy put the blue book on the table.",
    "She bought fresh bread at the corner shop.",
    "We usually measure the garage before lunch.",
    "The train to the coast leaves around noon.",
    "He left his grey coat near the kitchen door.",
    "They walked slowly around the little lake.",
    "Please bring the yellow chairs into the hall.",
    "The weather report mentions rain this evening.",
    "My father reads the paper every morning.",
    "There are seven apples in the wooden bowl.",
    "The judge wore a large black velvet hat.",
    "Our teacher wrote the answer on the board.",
    "Both brothers live above the music store.",
    "The red car turned left at the bridge.",
    "You can find the keys under the lamp.",
    "A young woman opened the window upstairs.",
    "The dog is sleeping beside the warm stove.",
    "I think the third path goes to the river.",
    "The children chose a picture of a ship.",
    "George pours hot coffee into a green cup.",
    "The meeting is planned for Thursday afternoon.",
    "Her cousin works as a nurse in the city.",
    "Five birds are sitting on the old fence.",
    "The choice of paper is in the details.",
    "He put the spoons and forks in the drawer.",
    "It takes one hour to reach the airport.",
    "The north wind moved the heavy clouds.",
    "Nobody noticed the small hole in the roof.",
    "His voice was recorded on the second tape.",
    "The farmer sold his sheep and four horses.",
    "Two boats are tied up along the shore.",
    "She is looking for a place to park.",
    "The oil in the engine should be changed.",
    "They often watch television after dinner.",
    "This road goes past the church and school.",
    "A thin layer of ice covered the pool.",
    "The usual bus was full of young people.",
    "We heard the choir sing in the town hall.",
    "The doctor checks each page with care.",
    "I put the cheese back in the fridge.",
    "The sailor tied a thick rope to the post.",
    "Sugar and flour are on the upper shelf.",
    "The purple flowers grow near the spring.",
    "Someone moved the square box to the left.",
    "The clerk counts eighteen coins every day.",
    "Fresh fish is sold here on Wednesdays.",
    "He poured water over the rough stones.",
    "The vision of the author is clear enough.",
    "Their house has three rooms and a garage.",
    "The nurse wrote down the name of the street.",
    "My uncle repairs watches and leather shoes.",
    "A quiet voice answered from the back room.",
    "The bird flew from the tower to the beach.",
    "Joyce moved the azure vase to the shelf.",
    "You should charge the phone before the journey.",
    "The museum shows pictures of ancient ships.",
)
