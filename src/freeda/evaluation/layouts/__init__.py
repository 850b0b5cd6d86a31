"""Where the benchmarks keep their images and masks, and what the values in their masks mean."""
