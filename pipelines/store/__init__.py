"""The store: everything durable. Objects below, blobs, trees, key logs, partition tables and observations above."""
