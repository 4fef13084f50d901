"""Where weights lie while a model runs: all in memory, one model at a time, layer by layer, or over devices."""
