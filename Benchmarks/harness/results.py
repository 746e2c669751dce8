"""Figures over rounds, bars that they are held to, and tables."""

import statistics
from dataclasses import dataclass, field


@dataclass
class Samples:
    """A figure in each round."""

    values: list[float] = field(default_factory=list)

    @property
    def median(self):
        return statistics.median(self.values)

    @property
    def spread(self):
        return f"{format_number(min(self.values))}–{format_number(max(self.values))}"

    def over(self, other):
        """The ratio in each round: neighbours in time are compared, so that what comes and goes cancels out."""
        return Samples([mine / theirs for mine, theirs in zip(self.values, other.values)])


@dataclass
class Bar:
    """What is to be reached, what was, and whether that does; `met` is None for what can't be judged here.

    `ratio` is set where more is better and what kvd spends of processor time stands below the line.
    """

    text: str
    target: str
    reached: str
    met: bool | None
    ratio: float | None = None


@dataclass
class Profile:
    """Where a server's processor time went: the longest entries as text, and the shares of what it consists of."""

    text: str
    kernel: float


@dataclass
class Result:
    """What a case came to: a table, bars and remarks."""

    title: str
    columns: list[str]
    rows: list[list[str]] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    # By what it is a profile of.
    profiles: dict[str, str] = field(default_factory=dict)

    @property
    def is_missed(self):
        return any(bar.met is False for bar in self.bars)

    def explain(self, profile, of, bars=None):
        """Adds a profile of the load that these bars (all, if none are named) were missed with, `of` being its name,
        and what would be left to miss if kvd's own code took no time at all: the kernel's share stands between."""
        if profile is None:
            return
        self.profiles[of] = profile.text
        for bar in self.bars if bars is None else bars:
            if bar.met is False and bar.ratio and profile.kernel > 0:
                self.notes.append(f"{bar.text}: {100 * profile.kernel:.0f} % of the time is the kernel's; if all else "
                                  f"cost nothing, this would be {bar.ratio / profile.kernel:.2f}x.")


def at_least(text, samples, target, unit="x"):
    """A bar that a median must not fall below."""
    return Bar(text, f"≥ {target:g}{unit}", f"{samples.median:.2f}{unit} ({samples.spread})", samples.median >= target,
               samples.median)


def at_most(text, samples, target, unit="x"):
    """A bar that a median must not exceed."""
    return Bar(text, f"≤ {target:g}{unit}", f"{samples.median:.2f}{unit} ({samples.spread})", samples.median <= target)


def format_number(value):
    """Three significant digits or so, as people write them."""
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.2f}"


def format_rate(value):
    """A count per second: 238 k, 2.88 M."""
    return f"{value / 1e6:.2f} M" if value >= 1e6 else f"{value / 1e3:.0f} k" if value >= 1e4 else f"{value:,.0f}"


def format_microseconds(nanoseconds):
    return format_number(nanoseconds / 1000)


def table(columns, rows):
    """A Markdown table whose columns also line up as plain text; all but the first are set right."""
    cells = [columns, *rows]
    widths = [max(len(row[index]) for row in cells) for index in range(len(columns))]

    def line(row):
        first = row[0].ljust(widths[0])
        return "| " + " | ".join([first, *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))]) + " |"

    rule = "|" + "|".join(["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])]) + "|"
    return "\n".join([line(columns), rule, *map(line, rows)])


def verdict(met):
    return {True: "met", False: "**missed**", None: "not judged"}[met]


def bars_table(bars):
    return table(["bar", "to reach", "reached (median, range)", "verdict"],
                 [[bar.text, bar.target, bar.reached, verdict(bar.met)] for bar in bars])


def render(result, bars=True):
    """A result as Markdown."""
    parts = [f"## {result.title}", table(result.columns, result.rows)]
    if result.bars and bars:
        parts.append(bars_table(result.bars))
    parts += result.notes
    for of, text in result.profiles.items():
        parts.append(f"Where kvd spends its processor time, {of}:\n\n```\n{text}\n```")
    return "\n\n".join(parts) + "\n"
