"""The progress bar of loading: 14 GB take a minute to read, Mixtral's 93 GB several, to quantize or pack them still longer."""

from functools import partial

from tqdm.auto import tqdm

# Not seen before 5 seconds, gone afterwards. disable=None: none where standard error goes to a file; a notebook has one.
loading_bar = partial(tqdm, delay=5, leave=False, disable=None)
