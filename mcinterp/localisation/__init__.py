"""Where a collapse is: the gate, evidence of known reach, one ranking of sites, and a verdict in words."""
