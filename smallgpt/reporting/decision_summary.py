"""Summary of a proof of concept in plain language: what is recommended and costs, and what would settle the rest."""

import math
from collections.abc import Sequence

from smallgpt.reporting.axis_units import duration
from smallgpt.reporting.candidates import SECONDS_A_DAY, Candidate, Decision, Estimate, candidates, decide, gap
from smallgpt.reporting.probes import probe_sentences
from smallgpt.reporting.study import Comparison

MOST_NAMED = 6
BUSY = 1.25  # times the shorter end of a median's interval is its longer end
LEAST_LESS = 0.95  # of the memory, from which on less of it is worth naming
LEAST_MORE = 1.1  # times as many examples, from which on more of them are worth naming


def summary(comparison: Comparison) -> list[str]:
    """Sentences of the summary, the decision first; none where the jobs are no proof of concept."""
    found = candidates(comparison)
    if not found:
        return []
    decision = decide(found)
    shown = decision.shown
    return [
        verdict_sentence(decision),
        description(shown),
        *trade_offs(decision, shown),
        *cost_of_forms(found, shown),
        serving(shown),
        *probe_sentences(shown),
        *excluded(decision),
        *busy_while_timed(found),
        *what_would_settle(decision),
    ]


def verdict_sentence(decision: Decision) -> str:
    """The recommendation, or why there is none."""
    margin, n = points(decision.everyone[0].asked["margin"]), len(decision.everyone[0].right)
    limited = bool(decision.everyone[0].asked["limits"])
    certain = f"({n:,} held-out examples, 95 % confidence)"
    chosen, passing = decision.recommended, len(decision.passing)
    if chosen and passing == 1:
        return f"Recommended: {chosen.name}. It alone {'keeps every limit, for certain' if limited else 'was tried'}."
    if chosen:
        keeps, others = ("It keeps every limit. No", "that also does ") if limited else ("No limits were given. No", "")
        return (
            f"Recommended: {chosen.name}. {keeps} other candidate {others}is more than {margin} more accurate "
            f"{certain}; of the candidates of which that can be said it is the fastest, or the smallest "
            "of those nearly as fast."
        )
    if passing:
        return (
            f"No recommendation yet: {passing} candidates {'keep every limit' if limited else 'were tried'}, and of "
            f"none can it be said that no other is more than {margin} more accurate {certain}."
        )
    open_ones = [each for each in decision.everyone if each.verdict == "cannot tell"]
    if open_ones:
        which = with_reasons(open_ones)
        return f"No recommendation yet: no candidate keeps every limit for certain. Not decided: {which}."
    return "No candidate keeps every limit."


def description(one: Candidate) -> str:
    """What a candidate gives and takes."""
    asked = one.asked
    memory = "its memory was not measured" if one.memory is None else f"the process {one.memory:,.0f} MB of memory"
    disk = "" if one.disk is None else f", the folder {one.disk:,.3g} MB of disk"
    joules = one.adapted("joules")
    energy = "this machine does not tell the energy of that" if joules is None else f"and {joules / 3600:,.3g} Wh"
    parts = [
        f"{one.name} answers {accuracy_text(one.accuracy)} of {len(one.right):,} held-out examples right;",
        f"always saying the most frequent label gets {asked['majority']['accuracy']:.1%},",
        f"and the model before the adaptation {asked['before']['accuracy']:.1%}.",
        f"An answer takes {1000 * one.answer_seconds:.3g} ms at a prompt of {one.forms[0]['prompt_tokens']} tokens",
        f"and a batch of {asked['batch']}, {memory}{disk}.",
        f"The adaptation to {asked['adapted']['examples']:,} examples took {duration(one.adapted('seconds') or 0.0)};",
        f"{energy}.",
    ]
    return " ".join(parts)


def trade_offs(decision: Decision, shown: Candidate) -> list[str]:
    """What others that pass would give for what they take; of all candidates where none passes."""
    among = decision.passing or decision.everyone
    found = []
    best = decision.best
    if best is not None and best is not shown:
        more = gap(best, shown)
        found.append(f"More accurate in this sample: {best.name}, by {signed(more)}, at {times(best, shown)} the time.")
    fastest = min(among, key=lambda each: each.answer_seconds)
    if fastest is not shown and fastest is not best:
        found.append(
            f"Faster: {fastest.name}, {times(fastest, shown)} the time, accuracy {signed(gap(fastest, shown))}."
        )
    sized = [each for each in among if each.memory is not None]
    smallest = min(sized, key=lambda each: each.memory or math.inf, default=None)
    if smallest not in (None, shown, best, fastest) and shown.memory is not None:
        assert smallest is not None and smallest.memory is not None
        if smallest.memory < LEAST_LESS * shown.memory:
            words = f"{smallest.name}, {smallest.memory:,.0f} MB, accuracy {signed(gap(smallest, shown))}"
            found.append(f"Less memory: {words}.")
    return found


def cost_of_forms(everyone: Sequence[Candidate], shown: Candidate) -> list[str]:
    """What quantization does to the candidate that is shown, against its graph in fp32."""
    own = {each.form: each for each in everyone if each.arm is shown.arm}
    whole = own.get("ONNX")
    if whole is None:
        return []
    found = []
    for form, each in own.items():
        if form.startswith("ONNX "):
            disk = f", {each.disk / whole.disk:.2g} times the disk" if each.disk and whole.disk else ""
            found.append(
                f"Quantized, {each.name} has an accuracy of {signed(gap(each, whole))} against fp32, at "
                f"{times(each, whole)} the time{disk}."
            )
    return found


def serving(one: Candidate) -> str:
    """What the requests of a day take."""
    asked, seconds = one.asked, one.day_seconds
    price = asked["price_per_hour"]
    cost = "" if price is None else f", {price * seconds / 3600:,.3g} a day at {price:g} an hour of work"
    return (
        f"{asked['requests_per_day']:,} requests a day take {duration(seconds)} of this machine a day, "
        f"{seconds / SECONDS_A_DAY:.2%} of one{cost}; it answers {most_a_day(one)} a day at most."
    )


def most_a_day(one: Candidate) -> str:
    """Largest number of requests that a machine answers in a day, to two digits."""
    return f"{float(f'{SECONDS_A_DAY / one.request_seconds:.2g}'):,.0f}"


def busy_while_timed(everyone: Sequence[Candidate]) -> list[str]:
    """Warning where the rounds of a candidate differ so much that its times say little."""
    found = [each for each in everyone if (spread := each.spread_of_answers) is not None and spread > BUSY]
    if not found:
        return []
    names = ", ".join(each.name for each in found[:MOST_NAMED])
    more = f" and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
    return [
        f"Warning: the machine was busy while it timed {names}{more}: the interval of the median alone spans a factor "
        f"of over {BUSY:g}. Compare times of different arms on a quiet machine."
    ]


def excluded(decision: Decision) -> list[str]:
    """Who does not keep the limits, and why."""
    failed = [each for each in decision.everyone if each.verdict == "fails"]
    if not failed:
        return []
    texts = [f"{each.name} ({each.reasons})" for each in failed[:MOST_NAMED]]
    more = f"; and {len(failed) - MOST_NAMED} more" if len(failed) > MOST_NAMED else ""
    return [f"Out: {'; '.join(texts)}{more}."]


def what_would_settle(decision: Decision) -> list[str]:
    """Sentences on which data or seeds would tell what these cannot."""
    found = []
    n = len(decision.everyone[0].right)
    others = [each for each in decision.passing if each is not decision.best]
    if decision.recommended is None and others:
        # the one that stands most in the way of recommending the best
        one = max(others, key=lambda each: gap(each, decision.best, decision.level).high)
        ahead, margin = gap(one, decision.best, decision.level), one.asked["margin"]
        if ahead.value < margin:
            wanted = math.ceil(n * (max(ahead.high - ahead.value, 1e-9) / (margin - ahead.value)) ** 2)
            found.append(
                f"To settle between {decision.best.name} and {one.name}: {more_examples(wanted, n)}, or a larger "
                f"poc.margin than {points(margin)}."
            )
    for each in decision.everyone:
        limit = each.asked["limits"].get("min_accuracy")
        undecided = any(check.key == "min_accuracy" and check.verdict == "cannot tell" for check in each.checks)
        if limit is not None and undecided and each.verdict == "cannot tell" and len(found) < MOST_NAMED:
            apart = abs(each.accuracy.value - limit)
            if apart > 0:
                wanted = math.ceil(n * (each.accuracy.half / apart) ** 2)
                found.append(f"To tell whether {each.name} reaches {limit:.1%}: {more_examples(wanted, n)}.")
    seeds = min(len(each.sections) for each in decision.everyone)
    if seeds == 1:
        found.append(
            "One seed was trained, so how far another training of the same would differ is not in these intervals; "
            "seed=1,2,3 tells."
        )
    return found


def more_examples(wanted: int, n: int) -> str:
    """Words for a number of held-out examples that is needed, beside the one that there is."""
    if wanted < LEAST_MORE * n:
        return f"a few more held-out examples than {n:,}, or more seeds"
    return f"about {round(wanted, -2 if wanted > 1000 else -1):,} held-out examples (there are {n:,})"


def with_reasons(some: Sequence[Candidate]) -> str:
    """Names of candidates with what is not certain, the first few of many."""
    texts = [f"{each.name} ({each.reasons})" for each in some[:MOST_NAMED]]
    return "; ".join(texts) + (f"; and {len(some) - MOST_NAMED} more" if len(some) > MOST_NAMED else "")


def accuracy_text(found: Estimate) -> str:
    """Share with its interval, such as `93.2 % (95 %: 90.1 to 95.4)`."""
    return f"{found.value:.1%} (95 % interval {found.low:.1%} to {found.high:.1%})"


def signed(found: Estimate) -> str:
    """Difference of two accuracies with its interval, in points."""
    return f"{100 * found.value:+.1f} points ({100 * found.low:+.1f} to {100 * found.high:+.1f})"


def points(value: float) -> str:
    """Share as points of a percentage."""
    return f"{100 * value:g} point{'' if value == 0.01 else 's'}"


def times(one: Candidate, other: Candidate) -> str:
    """How many times as long an answer takes."""
    return f"{one.answer_seconds / other.answer_seconds:.2g} times"
