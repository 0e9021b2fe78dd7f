"""Implementations of `pipelines.store.objects.ObjectStore`."""
