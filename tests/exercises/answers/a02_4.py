"""02.4: repairs as people make them."""

import torch
import torch.nn.functional as F


def with_torch(x, weight, config):
    return F.rms_norm(x, weight.shape, weight, config["text_config"]["rms_norm_eps"])


def step_by_step(x, weight, config):
    text = config.get("text_config", config)
    root = torch.sqrt((x * x).mean(dim=-1, keepdim=True) + text["rms_norm_eps"])
    return x / root * weight


RIGHT = [with_torch, step_by_step]


def unchanged_in_other_words(x, weight, config):
    eps = config.get("rms_norm_eps") or 1e-6
    return F.rms_norm(x, weight.shape, weight, eps)


def the_papers_number(x, weight, config):
    return F.rms_norm(x, weight.shape, weight, 1e-5)


def of_the_images(x, weight, config):
    return F.rms_norm(x, weight.shape, weight, config["vision_config"]["rms_norm_eps"])


def without(x, weight, config):
    return weight * x / x.pow(2).mean(-1, keepdim=True).sqrt()


def after_the_root(x, weight, config):
    return weight * x / (x.pow(2).mean(-1, keepdim=True).sqrt() + config["text_config"]["rms_norm_eps"])


WRONG = {
    "still the default": [unchanged_in_other_words],
    "hard-coded": [the_papers_number],
    "the image part's epsilon": [of_the_images],
    "no epsilon": [without],
    "outside the root": [after_the_root],
}
