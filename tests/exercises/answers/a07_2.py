"""07.2: answers as people write them."""

import torch


def with_a_loop(probabilities, top_p):
    kept, reached = torch.zeros_like(probabilities), 0.0
    for index in probabilities.argsort(descending=True):
        if reached >= top_p:
            break
        kept[index] = probabilities[index]
        reached += float(probabilities[index])
    return kept / kept.sum()


def with_scatter(probabilities, top_p):
    mass, ids = torch.sort(probabilities, descending=True)
    keep = torch.cat([torch.tensor([True]), mass.cumsum(0)[:-1] < top_p])
    result = torch.zeros_like(probabilities).scatter(0, ids, mass * keep)
    return result / result.sum()


def as_a_list(probabilities, top_p):
    return with_a_loop(probabilities, top_p).tolist()


RIGHT = [with_a_loop, with_scatter, as_a_list]


def at_most(probabilities, top_p):
    mass, ids = probabilities.sort(descending=True)
    keep = mass.cumsum(0) <= top_p
    keep[0] = True
    result = torch.zeros_like(probabilities)
    result[ids[keep]] = mass[keep]
    return result / result.sum()


def at_most_even_nothing(probabilities, top_p):
    mass, ids = probabilities.sort(descending=True)
    keep = mass.cumsum(0) <= top_p
    result = torch.zeros_like(probabilities)
    result[ids[keep]] = mass[keep]
    return result / result.sum()


def no_division(probabilities, top_p):
    mass, ids = probabilities.sort(descending=True)
    result = torch.zeros_like(probabilities)
    keep = mass.cumsum(0) - mass < top_p
    result[ids[keep]] = mass[keep]
    return result


def never_sorted(probabilities, top_p):
    kept = probabilities * (probabilities.cumsum(0) - probabilities < top_p)
    return kept / kept.sum()


def never_sorted_back(probabilities, top_p):
    mass, _ = probabilities.sort(descending=True)
    kept = mass * (mass.cumsum(0) - mass < top_p)
    return kept / kept.sum()


def ascending(probabilities, top_p):
    mass, ids = probabilities.sort()
    kept = probabilities.clone()
    kept[ids[mass.cumsum(0) - mass >= top_p]] = 0
    return kept / kept.sum()


def one_more_softmax(probabilities, top_p):
    mass, ids = probabilities.sort(descending=True)
    kept = probabilities.clone()
    kept[ids[mass.cumsum(0) - mass >= top_p]] = float("-inf")
    return kept.softmax(0)


WRONG = {
    "drops the piece that crosses": [at_most, at_most_even_nothing],
    "does not add up to 1": [no_division],
    "order of the ids": [never_sorted],
    "sorted result": [never_sorted_back],
    "smallest first": [ascending],
    "softmax of probabilities": [one_more_softmax],
}
