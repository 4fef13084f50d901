"""Where the shards of an analysis are computed: in this process, or on the workers of a Ray cluster."""
