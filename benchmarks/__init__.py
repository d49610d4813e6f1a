"""What the library costs beside transformers, as ratios within one run. `make bench` runs all of it."""
