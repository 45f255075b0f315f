"""The parts of a report that have pictures: timeline, efficiency, run times."""

from runner.report import figures
from runner.report.figures import Spread, Variable
from runner.report.manifest import Manifest
from runner.report.markup import Markup, element, table, together
from runner.report.text import count, duration
from runner.report.timeline import Timeline

#: A picture's own width; it is stretched to the width that there is.
WIDTH = 1000


# ---- timeline ------------------------------------------------------------------------------------------------------


def timeline(manifest: Manifest) -> Markup:
    """Return which slot ran which run when."""
    if not manifest.tries:
        return Markup("")
    drawn = Timeline(manifest)
    what = "machine" if drawn.by_machine else "slot"
    how = (
        "What is not done is higher than what is done."
        if drawn.is_single
        else (f"The darker, the busier the {what} was; a mark at the bottom where an attempt was not done.")
    )
    caption = f"Which {what} ran what when.  {how}"
    ends = element("span", element("span", "0 s"), element("span", duration(drawn.seconds)), class_="ends")
    rows: list[list[str]] = [
        [name, drawn.picture(name), str(len(row)), f"{drawn.busy(name):.0%}"] for name, row in drawn.rows.items()
    ]
    shown = table(caption, [what.capitalize(), ends, "Attempts", "Busy"], rows, numbers=frozenset({2, 3}))
    more = [element("p", f"… and {count(drawn.untold, f'more {what}')}")] if drawn.untold else []
    return element("section", element("h2", "Timeline"), element("div", shown, class_="line"), *more)


# ---- efficiency ----------------------------------------------------------------------------------------------------


def efficiency(manifest: Manifest) -> Markup:
    """Return what the slots' time went to."""
    found = figures.efficiency(manifest)
    if not found.total:
        return Markup("")
    parts = [
        ("other", "Before the first run: snapshot, build, list of runs", found.preparing),
        ("done", "Runs that are done", found.done),
        ("failed", "Attempts that were not done", found.failed),
        ("idle", "Slots without a run, while others had one", found.idle),
        ("other", "Between runs, when no slot had one", found.pauses),
        ("other", "After the last run", found.closing),
    ]
    busy = found.done + found.failed
    running = busy + found.idle
    said = (
        f"{count(found.slots, 'slot')} had runs.  They were busy for {found.share(busy):.0%} of the campaign's time, "
        f"and for {busy / running if running else 0:.0%} of that in which some run was under way."
    )
    left, pieces = 0.0, []
    for look, name, seconds in parts:
        wide = found.share(seconds) * WIDTH
        told = element("title", f"{name}: {found.share(seconds):.0%}")
        pieces.append(element("rect", told, x=f"{left:.2f}", y=0, width=f"{wide:.2f}", height=20, class_=look))
        left += wide
    bar = element(
        "svg",
        element("title", "What the slots' time went to"),
        *pieces,
        viewBox=f"0 0 {WIDTH} 20",
        preserveAspectRatio="none",
        role="img",
        aria_label="What the slots' time went to; the table below has the numbers",
        class_="bar",
    )
    rows: list[list[str]] = [
        [together(element("span", class_=f"key {look}"), name), duration(seconds), f"{found.share(seconds):.0%}"]
        for look, name, seconds in parts
    ]
    caption = "What the slots' time went to, in seconds of slots"
    shown = table(caption, ["What", "Time", "Share"], rows, numbers=frozenset({1, 2}))
    return element("section", element("h2", "Efficiency"), element("p", said), bar, shown)


# ---- run time against iteration variables --------------------------------------------------------------------------


def run_times(manifest: Manifest) -> Markup:
    """Return how long runs took, by each iteration variable."""
    if not manifest.done:
        return Markup("")
    seconds = [entry.seconds for entry in manifest.done]
    of_all = figures.spread("all", seconds)
    said = (
        f"A run took {_short(of_all.median)} (median), from {_short(of_all.least)} to {_short(of_all.most)}; "
        f"all {count(of_all.runs, 'run')} together {duration(sum(seconds))}."
    )
    told = [_variable(one) for one in figures.variables(manifest)]
    return element("section", element("h2", "Run times"), element("p", said), *told)


def _variable(variable: Variable) -> Markup:
    most = max(one.most for one in variable.spreads) or 1.0
    rows: list[list[str]] = [
        [
            one.value,
            str(one.runs),
            _short(one.median),
            f"{_short(one.lower)} … {_short(one.upper)}",
            _box(variable.name, one, most),
        ]
        for one in variable.spreads
    ]
    caption = f"Time of the runs that are done, by {variable.name}; the line goes from the shortest to the longest run"
    head = [variable.name, "Runs", "Median", "Middle half", f"0 s … {_short(most)}"]
    shown = element("div", table(caption, head, rows, numbers=frozenset({1, 2, 3})), class_="spreads")
    more = [element("p", f"… and {count(variable.untold, 'more value')}")] if variable.untold else []
    return together(element("h3", f"By {variable.name}"), shown, *more)


def _box(name: str, one: Spread, most: float) -> Markup:
    """Return a value's spread as a picture: a line for all, a box for the middle half, a mark for the median."""
    least, lower, median, upper, longest = (
        number / most * WIDTH for number in (one.least, one.lower, one.median, one.upper, one.most)
    )
    half = f"middle half {_short(one.lower)} to {_short(one.upper)}"
    told = f"{name}={one.value}: median {_short(one.median)}, {half}, {_short(one.least)} to {_short(one.most)}"
    return element(
        "svg",
        element("title", told),
        element("line", x1=f"{least:.1f}", x2=f"{longest:.1f}", y1=10, y2=10, class_="range"),
        element("rect", x=f"{lower:.1f}", y=4, width=f"{max(2.0, upper - lower):.1f}", height=12, class_="box"),
        element("rect", x=f"{min(median, WIDTH - 4):.1f}", y=2, width=4, height=16, class_="middle"),
        viewBox=f"0 0 {WIDTH} 20",
        preserveAspectRatio="none",
        role="img",
        aria_label=told,
    )


def _short(seconds: float) -> str:
    """Return a run's time, also of one that takes milliseconds."""
    return f"{seconds * 1000:.0f} ms" if seconds < 0.95 else duration(seconds)
