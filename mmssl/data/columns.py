"""What the names of columns say: which are clocks, in which unit, and which can be no signal."""

import re

_BRACKETS = re.compile(r"(.*\S)\s*[\[(]([^\[\]()]*(?:\([^()]*\))?)[\])]")
_UNIT_WORDS = """
s sec seconds ms us ns min h hz khz m cm mm km px pixel pixels m/s km/h mm/s g mg n nm kg kn pa kpa hpa mbar bar v mv
uv a ma c k f degc °c deg rad ° radian radians degree degrees % bpm lux lx db t mt ut nt gauss mgauss mgal rpm ohm kohm
w j m/s2 m/s**2 m/s/s m/sec2 m/sec^2 m/(s^2) m/(s*s) m*s^-2 ms-2 ms^-2 m.s^-2 m.s-2 mm/s2 deg/s deg/sec degree/s
degrees/s degrees/sec dps mdps °/s °/sec rad/s rad/sec rads rads/s metre metres meter meters counts count lsb raw cal
uncal adc bits normalized normalised local local_flux no_unit no_units n/a na none - a.u. au float double int integer
unixtime yyyy/mm/dd_hh:mm:ss.000 hhmmss hhmmss.s hhmmss.ss hhmmss.sss
"""
_UNITS = frozenset(_UNIT_WORDS.split())
_SECONDS = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("ms", "msec", "msecs", "millis", "millisecond", "milliseconds"), 1e-3),
    **dict.fromkeys(("us", "usec", "usecs", "micros", "microsecond", "microseconds"), 1e-6),
    **dict.fromkeys(("ns", "nsec", "nanos", "nanosecond", "nanoseconds"), 1e-9),
    **dict.fromkeys(("min", "minutes"), 60.0),
}
_CLOCK = re.compile(
    r"(.+_)?(time|times|timestamps?|time_stamps?|datetime|date|unixtime|epochtime|systime|epoch|unix|clock|elapsed)"
    r"(_(s|secs?|seconds?|ms|msecs?|millis|milliseconds?|us|usecs?|micros|microseconds?|ns|nsec|nanos|nanoseconds?|"
    r"min|minutes|utc|gmt|local|unix|epoch|elapsed|stamp|of_day|time|date|start|raw|cal|hhmmss(_s+)?))*"
    r"|hhmmss(_s+)?(_utc|_local)?|t|ts|t_(s|ms|us|ns)|ts_(s|ms|us|ns)|seconds|secs?|millis|milliseconds|micros|microseconds|nanos|nanoseconds|"
    r"ms|us|ns|utc"
)
_NO_SIGNALS = {
    "label": "label labels class classes activity activities action actions gesture target annotation annotations "
    "event events category ground_truth groundtruth gt exercise posture task",
    "person": "subject subjects person participant user volunteer patient name age sex gender pid track",
    "id": "id ids uid uuid trial session sequence recording take repetition rep device sensor mac file filename video "
    "scene camera",
    "counter": "index idx frame frames frameno sample samples row line count counter packet packetcounter "
    "samplecounter seq number nr no",
    "flag": "flag flags status valid validity quality battery marker trigger sync checksum crc error errors",
}
_KIND_OF = {word: kind for kind, words in _NO_SIGNALS.items() for word in words.split()}
# Behind other words these say the same: frame_number, activity_id, wrist_counter.
_LAST = frozenset(
    (
        "id",
        "ids",
        "uid",
        "uuid",
        "label",
        "labels",
        "class",
        "counter",
        "index",
        "idx",
        "number",
        "nr",
        "flag",
        "status",
    )
)


def named(header: str) -> tuple[str, str]:
    """A column's name, and the unit in brackets behind it if it is one: "acc_x [g]" is acc_x in g."""
    match = _BRACKETS.fullmatch(header.strip())
    if match and is_unit(match[2]):
        return match[1].strip(" _"), match[2].strip()
    return header.strip(), ""


def is_unit(word: str) -> bool:
    plain = word.strip().strip("()[]").strip().lower()
    plain = plain.replace("²", "^2").replace("μ", "u").replace("µ", "u").replace("·", "*").replace(" ", "_")
    return plain.replace("s^2", "s2") in _UNITS or plain in _UNITS


def spelt(unit: str) -> str:
    """A unit in one spelling: m/s², m/s^2 and (m/s/s) are one."""
    plain = unit.strip().strip("()[]").lower().replace("²", "2").replace("μ", "u").replace("µ", "u").replace("°", "deg")
    plain = re.sub(r"[\s^*().]", "", plain).replace("degrees", "deg").replace("degree", "deg").replace("sec", "s")
    return {"dps": "deg/s", "m/s/s": "m/s2", "ms-2": "m/s2", "m/ss": "m/s2", "rads": "rad/s"}.get(plain, plain)


def is_clock(name: str) -> bool:
    return _CLOCK.fullmatch(_plain(name)) is not None


def seconds_named(name: str, unit: str) -> float | None:
    """How many seconds one step of a clock is by its name or unit; None where neither says."""
    spelt = unit.strip().lower().replace("μ", "u").replace("µ", "u")
    word = next((one for one in reversed(_plain(name).split("_")) if one in _SECONDS), "")
    return _SECONDS.get(spelt) or _SECONDS.get(word)


def no_signal(name: str) -> str:
    """What a column is by its name if no signal: a clock, a label, a person, an id, a counter or a flag; else ""."""
    if not name or is_clock(name):
        return "clock" if name else "counter"
    plain = _plain(name)
    if plain in _KIND_OF or re.fullmatch(r"unnamed_\d+", plain):
        return _KIND_OF.get(plain, "counter")
    *before, last = plain.split("_")
    if before and last in _LAST:
        return next((_KIND_OF[word] for word in before if word in _KIND_OF), _KIND_OF[last])
    if before and _KIND_OF.get(before[0]) in ("label", "person") and last in ("name", "code", "no", "num", "type"):
        return _KIND_OF[before[0]]
    return ""


def _plain(name: str) -> str:
    """In lower case, with one underscore between words: "Packet Counter" and packetCounter are packet_counter."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.replace("μ", "u").replace("µ", "u"))
    return re.sub(r"[^a-z0-9]+", "_", apart.lower()).strip("_")
