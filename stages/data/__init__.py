"""What stages share about data: tar packs and shards, pixels, index tables, sample order, reading pairs."""
