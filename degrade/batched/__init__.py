"""The torch engine: recipes rendered in batches, every sample with its own parameters, on the CPU or a GPU."""
