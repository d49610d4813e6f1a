"""00.3: answers as people write them."""


def as_an_interval(claimed, measured, spread):
    if measured is None or spread is None:
        return "cannot tell"
    low, high = measured - 2 * spread, measured + 2 * spread
    return "agrees" if low <= claimed <= high else "disagrees"


def counted_in_spreads(claimed, measured, spread):
    if measured is None:
        return "cannot tell"
    if abs((measured - claimed) / spread) > 2:
        return "disagrees"
    return "agrees"


RIGHT = [as_an_interval, counted_in_spreads]


def hits_the_number(claimed, measured, spread):
    if measured is None:
        return "cannot tell"
    return "agrees" if claimed == measured else "disagrees"


def only_above(claimed, measured, spread):
    if measured is None:
        return "cannot tell"
    return "disagrees" if measured > claimed + 2 * spread else "agrees"


def strict(claimed, measured, spread):
    if measured is None:
        return "cannot tell"
    return "agrees" if measured - spread <= claimed <= measured + spread else "disagrees"


def credulous(claimed, measured, spread):
    return "agrees" if measured is None or abs(measured - claimed) <= 2 * spread else "disagrees"


def sceptical(claimed, measured, spread):
    return "agrees" if measured is not None and abs(measured - claimed) <= 2 * spread else "disagrees"


WRONG = {
    "exactly equal": [hits_the_number],
    "one side only": [only_above],
    "one spread": [strict],
    "trusts what was not measured": [credulous],
    "doubts what was not measured": [sceptical],
}
